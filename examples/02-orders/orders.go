package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/tasker-engine/tasker/examples/02-orders/internal/shop"
	"github.com/tasker-engine/tasker/plugin/sdk"
)

// Order is the input of the template.
type Order struct {
	Order    string      `json:"order" jsonschema_description:"The order's number."`
	Customer string      `json:"customer" jsonschema_description:"The customer's e-mail address."`
	Address  string      `json:"address" jsonschema_description:"Where the parcel goes."`
	Card     string      `json:"card" jsonschema_description:"Card token. tok_declined is declined."`
	Lines    []shop.Line `json:"lines" jsonschema:"minItems=1"`
	Shop     string      `json:"shop,omitempty" jsonschema_description:"Address of the shop service. Default: http://127.0.0.1:8431."`
}

// Quote is an order with its prices.
type Quote struct {
	Lines      []QuoteLine `json:"lines"`
	TotalCents int         `json:"total_cents"`
	Currency   string      `json:"currency"`
}

// QuoteLine is a line with its price.
type QuoteLine struct {
	shop.Line
	Name       string `json:"name"`
	UnitCents  int    `json:"unit_cents"`
	TotalCents int    `json:"total_cents"`
}

// orders holds what the handlers share.
type orders struct{ http *client }

// validate checks the order and prices it with what the shop asks today.
func (o *orders) validate(ctx context.Context, in Order) (Quote, error) {
	query := url.Values{}
	for i, l := range in.Lines {
		if l.Quantity < 1 {
			return Quote{}, sdk.Permanent(fmt.Errorf("line %d: the quantity of %q must be at least 1, not %d", i+1, l.SKU, l.Quantity))
		}
		query.Add("sku", l.SKU)
	}
	var products []shop.Product
	if err := o.http.get(ctx, in.url("products?"+query.Encode()), &products); err != nil {
		return Quote{}, err
	}
	if len(products) != len(in.Lines) {
		return Quote{}, sdk.Downstream(fmt.Errorf("asked for %d products, the shop answered with %d", len(in.Lines), len(products)))
	}
	q := Quote{Lines: []QuoteLine{}, Currency: "EUR"}
	for i, l := range in.Lines {
		p := products[i]
		q.Lines = append(q.Lines, QuoteLine{Line: l, Name: p.Name, UnitCents: p.UnitCents, TotalCents: l.Quantity * p.UnitCents})
		q.TotalCents += l.Quantity * p.UnitCents
	}
	return q, nil
}

// reserve puts the stock aside.
func (o *orders) reserve(ctx context.Context, in Order) (shop.Reservation, error) {
	var out shop.Reservation
	err := o.http.post(ctx, in.url("reservations"), shop.ReservationRequest{Order: in.Order, Lines: in.Lines}, &out)
	return out, err
}

// charge takes the money. That it does so once, however often it runs, is the work of the idempotency key
// that post sends along.
func (o *orders) charge(ctx context.Context, in Order) (shop.Charge, error) {
	q, err := sdk.Result[Quote](ctx, "validate")
	if err != nil {
		return shop.Charge{}, err
	}
	var out shop.Charge
	ask := shop.ChargeRequest{Order: in.Order, Card: in.Card, AmountCents: q.TotalCents, Currency: q.Currency}
	if err := o.http.post(ctx, in.url("charges"), ask, &out); err != nil {
		return shop.Charge{}, err
	}
	if out.AmountCents != q.TotalCents {
		return shop.Charge{}, sdk.Permanent(fmt.Errorf("charge %s is of %d cents, asked for %d", out.ID, out.AmountCents, q.TotalCents))
	}
	return out, nil
}

// ship sends what was reserved, once it is paid.
func (o *orders) ship(ctx context.Context, in Order) (shop.Shipment, error) {
	r, err := sdk.Result[shop.Reservation](ctx, "reserve_stock")
	if err != nil {
		return shop.Shipment{}, err
	}
	var out shop.Shipment
	err = o.http.post(ctx, in.url("shipments"), shop.ShipmentRequest{Order: in.Order, Reservation: r.ID, Address: in.Address}, &out)
	return out, err
}

// notify tells the customer what was paid and where the parcel is.
func (o *orders) notify(ctx context.Context, in Order) (shop.Notification, error) {
	c, errC := sdk.Result[shop.Charge](ctx, "charge")
	s, errS := sdk.Result[shop.Shipment](ctx, "ship")
	if err := errors.Join(errC, errS); err != nil {
		return shop.Notification{}, err
	}
	text := fmt.Sprintf("Order %s: %d.%02d %s paid, parcel %s is on its way.", in.Order, c.AmountCents/100, c.AmountCents%100, c.Currency, s.Tracking)
	var out shop.Notification
	err := o.http.post(ctx, in.url("notifications"), shop.NotificationRequest{Order: in.Order, To: in.Customer, Text: text}, &out)
	return out, err
}

// url is the address of something in the shop.
func (in Order) url(path string) string {
	base := strings.TrimSuffix(in.Shop, "/")
	if base == "" {
		base = "http://127.0.0.1:8431"
	}
	return base + "/v1/" + path
}
