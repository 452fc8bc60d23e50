package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/tasker-engine/tasker/examples/02-orders/internal/shop"
	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
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

// validate checks the order and prices it with what the shop asks today.
type validate struct{ *httpapi.Client }

// Process asks for the products; the results are the quote.
func (v validate) Process(ctx context.Context, in Order) (Quote, error) {
	query := url.Values{}
	for i, l := range in.Lines {
		if l.Quantity < 1 {
			return Quote{}, sdk.Permanent(fmt.Errorf("line %d: the quantity of %q must be at least 1, not %d", i+1, l.SKU, l.Quantity))
		}
		query.Add("sku", l.SKU)
	}
	answer, err := v.Get(ctx, in.url("products?"+query.Encode()))
	if err != nil {
		return Quote{}, err
	}
	var products []shop.Product
	if err := answer.Decode(&products); err != nil {
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

// reserve puts the stock aside. The reservation in the answer is what is stored: that is the ProcessResults of [httpapi.API].
type reserve struct{ httpapi.API[shop.Reservation] }

// Process asks for the reservation.
func (r reserve) Process(ctx context.Context, in Order) (*httpapi.Response, error) {
	return r.Post(ctx, in.url("reservations"), shop.ReservationRequest{Order: in.Order, Lines: in.Lines})
}

// charge takes the money. That it does so once, however often it runs, is the work of the idempotency key
// that the client sends along.
type charge struct{ httpapi.API[shop.Charge] }

// Process asks for the money.
func (c charge) Process(ctx context.Context, in Order) (*httpapi.Response, error) {
	q, err := sdk.Result[Quote](ctx, "validate")
	if err != nil {
		return nil, err
	}
	return c.Post(ctx, in.url("charges"), shop.ChargeRequest{Order: in.Order, Card: in.Card, AmountCents: q.TotalCents, Currency: q.Currency})
}

// ProcessResults makes sure that the right amount was taken.
func (c charge) ProcessResults(ctx context.Context, r *httpapi.Response) (shop.Charge, error) {
	out, errOut := c.API.ProcessResults(ctx, r)
	q, errQ := sdk.Result[Quote](ctx, "validate")
	if err := errors.Join(errOut, errQ); err != nil {
		return shop.Charge{}, err
	}
	if out.AmountCents != q.TotalCents {
		return shop.Charge{}, sdk.Permanent(fmt.Errorf("charge %s is of %d cents, asked for %d", out.ID, out.AmountCents, q.TotalCents))
	}
	return out, nil
}

// ship sends what was reserved, once it is paid.
type ship struct{ httpapi.API[shop.Shipment] }

// Process asks for the parcel to be sent.
func (s ship) Process(ctx context.Context, in Order) (*httpapi.Response, error) {
	r, err := sdk.Result[shop.Reservation](ctx, "reserve_stock")
	if err != nil {
		return nil, err
	}
	return s.Post(ctx, in.url("shipments"), shop.ShipmentRequest{Order: in.Order, Reservation: r.ID, Address: in.Address})
}

// notify tells the customer what was paid and where the parcel is.
type notify struct {
	httpapi.API[shop.Notification]
}

// Process asks for the message to be sent.
func (n notify) Process(ctx context.Context, in Order) (*httpapi.Response, error) {
	c, errC := sdk.Result[shop.Charge](ctx, "charge")
	s, errS := sdk.Result[shop.Shipment](ctx, "ship")
	if err := errors.Join(errC, errS); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("Order %s: %d.%02d %s paid, parcel %s is on its way.", in.Order, c.AmountCents/100, c.AmountCents%100, c.Currency, s.Tracking)
	return n.Post(ctx, in.url("notifications"), shop.NotificationRequest{Order: in.Order, To: in.Customer, Text: text})
}

// url is the address of something in the shop.
func (in Order) url(path string) string {
	base := strings.TrimSuffix(in.Shop, "/")
	if base == "" {
		base = "http://127.0.0.1:8431"
	}
	return base + "/v1/" + path
}
