// Package shop is the service that the orders example talks to: stock, payments, shipments and notifications
// over HTTP, kept in memory. Every request that changes something carries an Idempotency-Key; the same key
// gets the same answer and changes nothing again. The service misbehaves on purpose, in a way that a seed
// determines, and keeps a ledger that shows what really happened.
package shop

import (
	"fmt"
	"maps"
	"net/http"
	"sync"
)

// Product is something that the shop sells.
type Product struct {
	SKU       string `json:"sku"`
	Name      string `json:"name"`
	UnitCents int    `json:"unit_cents"`
	Stock     int    `json:"stock"` // what is left
}

// Line is a product and how many of it.
type Line struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

// ReservationRequest asks to put stock aside for an order.
type ReservationRequest struct {
	Order string `json:"order"`
	Lines []Line `json:"lines"`
}

// Reservation is stock put aside.
type Reservation struct {
	ID    string `json:"id"`
	Order string `json:"order"`
	Lines []Line `json:"lines"`
}

// ChargeRequest asks for money.
type ChargeRequest struct {
	Order       string `json:"order"`
	Card        string `json:"card"` // a token; "tok_declined" is declined
	AmountCents int    `json:"amount_cents"`
	Currency    string `json:"currency"`
}

// Charge is money taken.
type Charge struct {
	ID          string `json:"id"`
	Order       string `json:"order"`
	AmountCents int    `json:"amount_cents"`
	Currency    string `json:"currency"`
}

// ShipmentRequest asks to send what was reserved.
type ShipmentRequest struct {
	Order       string `json:"order"`
	Reservation string `json:"reservation"`
	Address     string `json:"address"`
}

// Shipment is a parcel on its way.
type Shipment struct {
	ID       string `json:"id"`
	Order    string `json:"order"`
	Tracking string `json:"tracking"`
}

// NotificationRequest asks to tell the customer something.
type NotificationRequest struct {
	Order string `json:"order"`
	To    string `json:"to"`
	Text  string `json:"text"`
}

// Notification is a message sent.
type Notification struct {
	ID    string `json:"id"`
	Order string `json:"order"`
	To    string `json:"to"`
	Text  string `json:"text"`
}

// Ledger is what really happened.
type Ledger struct {
	Orders   map[string]OrderEntry `json:"orders"`
	Stock    map[string]int        `json:"stock"`    // what is left of each product
	Requests map[string]int        `json:"requests"` // how many were answered in which way
}

// OrderEntry is what happened for one order.
type OrderEntry struct {
	Reservations  int `json:"reservations"`
	Charges       int `json:"charges"`
	ChargedCents  int `json:"charged_cents"`
	Shipments     int `json:"shipments"`
	Notifications int `json:"notifications"`
}

// refusal is an answer that no repetition will change.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.message }

// store is the state of the shop.
type store struct {
	mu           sync.Mutex
	products     map[string]*Product
	reservations map[string]string // id -> order
	orders       map[string]OrderEntry
	requests     map[string]int
	ids          int
}

func newStore() *store {
	s := &store{
		products: map[string]*Product{}, reservations: map[string]string{},
		orders: map[string]OrderEntry{}, requests: map[string]int{},
	}
	for _, p := range []Product{
		{"tea-assam", "Assam tea, 250 g", 890, 40},
		{"pot-cast", "Cast iron teapot", 5400, 6},
		{"cup-blue", "Blue cup", 1250, 24},
		{"tray-oak", "Oak tray", 3200, 0},
	} {
		s.products[p.SKU] = &p
	}
	return s
}

func (s *store) count(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests[kind]++
}

// entry changes what the ledger says of an order.
func (s *store) entry(order string, change func(*OrderEntry)) {
	e := s.orders[order]
	change(&e)
	s.orders[order] = e
}

func (s *store) id(kind string) string {
	s.ids++
	return fmt.Sprintf("%s_%04d", kind, s.ids)
}

// find returns products in the order asked for.
func (s *store) find(skus []string) ([]Product, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Product, 0, len(skus))
	for _, sku := range skus {
		p, ok := s.products[sku]
		if !ok {
			return nil, &refusal{http.StatusNotFound, "unknown_product", fmt.Sprintf("there is no product %q", sku)}
		}
		out = append(out, *p)
	}
	return out, nil
}

func (s *store) reserve(r ReservationRequest) (Reservation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range r.Lines { // all or nothing
		p, ok := s.products[l.SKU]
		if !ok || l.Quantity < 1 || p.Stock < l.Quantity {
			return Reservation{}, &refusal{http.StatusUnprocessableEntity, "out_of_stock", fmt.Sprintf("%d of %q are not in stock", l.Quantity, l.SKU)}
		}
	}
	for _, l := range r.Lines {
		s.products[l.SKU].Stock -= l.Quantity
	}
	out := Reservation{ID: s.id("res"), Order: r.Order, Lines: r.Lines}
	s.reservations[out.ID] = r.Order
	s.entry(r.Order, func(e *OrderEntry) { e.Reservations++ })
	return out, nil
}

func (s *store) charge(r ChargeRequest) (Charge, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Card == "tok_declined" {
		return Charge{}, &refusal{http.StatusUnprocessableEntity, "card_declined", "the card was declined"}
	}
	if r.AmountCents < 1 {
		return Charge{}, &refusal{http.StatusUnprocessableEntity, "bad_amount", "the amount must be positive"}
	}
	s.entry(r.Order, func(e *OrderEntry) { e.Charges++; e.ChargedCents += r.AmountCents })
	return Charge{ID: s.id("ch"), Order: r.Order, AmountCents: r.AmountCents, Currency: r.Currency}, nil
}

func (s *store) ship(r ShipmentRequest) (Shipment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reservations[r.Reservation] != r.Order {
		return Shipment{}, &refusal{http.StatusUnprocessableEntity, "no_reservation", fmt.Sprintf("order %q has no reservation %q", r.Order, r.Reservation)}
	}
	s.entry(r.Order, func(e *OrderEntry) { e.Shipments++ })
	id := s.id("sh")
	return Shipment{ID: id, Order: r.Order, Tracking: "TRK-" + id[len("sh_"):]}, nil
}

func (s *store) notify(r NotificationRequest) (Notification, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entry(r.Order, func(e *OrderEntry) { e.Notifications++ })
	return Notification{ID: s.id("msg"), Order: r.Order, To: r.To, Text: r.Text}, nil
}

func (s *store) ledger() Ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := Ledger{Orders: maps.Clone(s.orders), Stock: map[string]int{}, Requests: maps.Clone(s.requests)}
	for sku, p := range s.products {
		l.Stock[sku] = p.Stock
	}
	return l
}
