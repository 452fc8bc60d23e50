package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/tasker-engine/tasker/examples/02-orders/internal/shop"
	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
)

// Each handler says what it takes; the template maps the order and the results of earlier steps to it.

// At is where the shop is.
type At struct {
	Shop string `json:"shop,omitempty" jsonschema_description:"Address of the shop service. Default: http://127.0.0.1:8431."`
}

// Cart is what is to be priced.
type Cart struct {
	At

	Lines []shop.Line `json:"lines" jsonschema:"minItems=1"`
}

// Reserve is what is to be put aside.
type Reserve struct {
	At
	shop.ReservationRequest
}

// Pay is what is to be paid.
type Pay struct {
	At
	shop.ChargeRequest
}

// Send is what is to be sent.
type Send struct {
	At
	shop.ShipmentRequest
}

// Tell is what the customer is to be told.
type Tell struct {
	At

	Order    string `json:"order"`
	Customer string `json:"customer" jsonschema_description:"The customer's e-mail address."`
	Cents    int    `json:"amount_cents"`
	Currency string `json:"currency"`
	Tracking string `json:"tracking"`
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
func (v validate) Process(ctx context.Context, in Cart) (Quote, error) {
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
func (r reserve) Process(ctx context.Context, in Reserve) (*httpapi.Response, error) {
	return r.Post(ctx, in.url("reservations"), in.ReservationRequest)
}

// charge takes the money. That it does so once, however often it runs, is the work of the idempotency key
// that the client sends along.
type charge struct{ *httpapi.Client }

// Process asks for the money, and makes sure that the right amount was taken.
func (c charge) Process(ctx context.Context, in Pay) (out shop.Charge, err error) {
	answer, err := c.Post(ctx, in.url("charges"), in.ChargeRequest)
	if err != nil {
		return out, err
	}
	if err := answer.Decode(&out); err != nil {
		return out, err
	}
	if out.AmountCents != in.AmountCents {
		return out, sdk.Permanent(fmt.Errorf("charge %s is of %d cents, asked for %d", out.ID, out.AmountCents, in.AmountCents))
	}
	return out, nil
}

// ship sends what was reserved, once it is paid.
type ship struct{ httpapi.API[shop.Shipment] }

// Process asks for the parcel to be sent.
func (s ship) Process(ctx context.Context, in Send) (*httpapi.Response, error) {
	return s.Post(ctx, in.url("shipments"), in.ShipmentRequest)
}

// notify tells the customer what was paid and where the parcel is.
type notify struct {
	httpapi.API[shop.Notification]
}

// Process asks for the message to be sent.
func (n notify) Process(ctx context.Context, in Tell) (*httpapi.Response, error) {
	text := fmt.Sprintf("Order %s: %d.%02d %s paid, parcel %s is on its way.", in.Order, in.Cents/100, in.Cents%100, in.Currency, in.Tracking)
	return n.Post(ctx, in.url("notifications"), shop.NotificationRequest{Order: in.Order, To: in.Customer, Text: text})
}

// url is the address of something in the shop.
func (at At) url(path string) string {
	base := strings.TrimSuffix(at.Shop, "/")
	if base == "" {
		base = "http://127.0.0.1:8431"
	}
	return base + "/v1/" + path
}
