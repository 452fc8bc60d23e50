package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/examples/02-orders/internal/shop"
	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines are those of a good order.
func lines() []shop.Line {
	return []shop.Line{{SKU: "pot-cast", Quantity: 1}, {SKU: "cup-blue", Quantity: 4}}
}

// pay is what a good order costs.
func pay(url, order string, cents int) Pay {
	return Pay{At{url}, shop.ChargeRequest{Order: order, Card: "tok_visa", AmountCents: cents, Currency: "EUR"}}
}

// start runs the plugin.
func start(t *testing.T) *sdktest.Plugin {
	t.Helper()
	client, err := httpapi.New(httpapi.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return sdktest.Start(t, plugin(client))
}

func ledger(t *testing.T, url string) shop.Ledger {
	t.Helper()
	resp, err := http.Get(url + "/v1/ledger")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var l shop.Ledger
	if err := json.NewDecoder(resp.Body).Decode(&l); err != nil {
		t.Fatal(err)
	}
	return l
}

// step executes a step as a host would: attempt after attempt, with one idempotency key, until it succeeds,
// fails for good or has failed five times.
func step(t *testing.T, p *sdktest.Plugin, a sdktest.Attempt) (out *sdktest.Outcome, attempts int) {
	t.Helper()
	a.IdempotencyKey = a.Task + "/" + a.Handler
	for a.Number = 1; ; a.Number++ {
		out = p.Run(t, a)
		if out.Failure == nil || out.Failure.Verdict == sdk.Final || a.Number == 5 {
			return out, a.Number
		}
	}
}

// fulfil executes the steps of the template in order, each with what the template maps to it, and returns the sum of
// their attempts.
func fulfil(t *testing.T, p *sdktest.Plugin, task, url, order string) (sum int) {
	t.Helper()
	run := func(handler string, input, output any) {
		t.Helper()
		out, n := step(t, p, sdktest.Attempt{Task: task, Handler: handler, Input: input})
		if out.Failure != nil {
			t.Fatalf("%s: %v", handler, out.Failure)
		}
		if err := json.Unmarshal(out.Output, output); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	at := At{url}
	var quote Quote
	run("validate", Cart{at, lines()}, &quote)
	var reserved shop.Reservation
	run("reserve", Reserve{at, shop.ReservationRequest{Order: order, Lines: lines()}}, &reserved)
	var paid shop.Charge
	run("charge", pay(url, order, quote.TotalCents), &paid)
	var sent shop.Shipment
	run("ship", Send{at, shop.ShipmentRequest{Order: order, Reservation: reserved.ID, Address: "12 Analytical Row"}}, &sent)
	var told shop.Notification
	run("notify", Tell{at, order, "ada@example.com", paid.AmountCents, paid.Currency, sent.Tracking}, &told)
	if !strings.Contains(told.Text, sent.Tracking) || told.To != "ada@example.com" {
		t.Errorf("the customer is told %+v", told)
	}
	return sum
}

// TestNothingHappensTwice: whatever the shop does, and it does everything here, each order is charged, reserved,
// shipped and announced exactly once.
func TestNothingHappensTwice(t *testing.T) {
	p := start(t)
	for seed := range uint64(20) {
		server := httptest.NewServer(shop.New(shop.Options{Seed: seed, Trouble: 0.6, Delay: time.Millisecond}))
		for _, task := range []string{"a", "b"} {
			fulfil(t, p, task, server.URL, "order-"+task)
		}
		want := shop.OrderEntry{Reservations: 1, Charges: 1, ChargedCents: 10400, Shipments: 1, Notifications: 1}
		got := ledger(t, server.URL)
		for _, name := range []string{"order-a", "order-b"} {
			if diff := cmp.Diff(got.Orders[name], want); diff != "" {
				t.Errorf("seed %d, %s (-got +want):\n%s", seed, name, diff)
			}
		}
		server.Close()
	}
}

func TestHappyPath(t *testing.T) {
	server := httptest.NewServer(shop.New(shop.Options{}))
	defer server.Close()
	p := start(t)
	if got := fulfil(t, p, "a", server.URL, "1001"); got != 5 {
		t.Errorf("%d attempts for 5 steps of a well-behaved shop", got)
	}
}

// TestAnswerNotAwaited: an attempt that is stopped while the shop is slow leaves a charge that nobody heard of;
// the next attempt hears of it and charges nothing.
func TestAnswerNotAwaited(t *testing.T) {
	handler := shop.New(shop.Options{Trouble: 1, Seed: slowFirst(t), Delay: time.Hour})
	asked := make(chan struct{}, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	p := start(t)
	a := sdktest.Attempt{Handler: "charge", Input: pay(server.URL, "1001", 100), IdempotencyKey: "k"}
	r := p.Begin(t, a)
	<-asked
	r.Cancel(t, "cancel_requested")
	got := r.Wait(t)
	if got.Failure == nil || got.Failure.Verdict != sdk.Cancelled {
		t.Fatalf("failure = %+v, want a cancelled attempt", got.Failure)
	}
	for got.Failure != nil {
		got = p.Run(t, a)
	}
	if e := ledger(t, server.URL).Orders["1001"]; e.Charges != 1 {
		t.Errorf("%d charges, want 1", e.Charges)
	}
}

// slowFirst finds a seed with which the first charge is answered too late, and one of the next two in time.
func slowFirst(t *testing.T) uint64 {
	t.Helper()
	for seed := range uint64(1000) {
		handler := shop.New(shop.Options{Trouble: 1, Seed: seed})
		ask := func() int {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/charges", strings.NewReader(`{"order":"x","card":"c","amount_cents":1}`))
			r.Header.Set("Idempotency-Key", "k")
			handler.ServeHTTP(w, r)
			return w.Code
		}
		ask()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/ledger", http.NoBody))
		if !strings.Contains(w.Body.String(), `"slow": 1`) {
			continue
		}
		ask()
		w = httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/ledger", http.NoBody))
		if !strings.Contains(w.Body.String(), `"slow": 2`) {
			return seed
		}
	}
	t.Fatal("no seed begins with a slow answer")
	return 0
}

func TestRefusals(t *testing.T) {
	server := httptest.NewServer(shop.New(shop.Options{}))
	defer server.Close()
	p := start(t)
	at := At{server.URL}
	declined := pay(server.URL, "1001", 1)
	declined.Card = "tok_declined"
	for _, test := range []struct {
		name, handler string
		input         any
		code, message string
	}{
		{"an unknown product", "validate", Cart{at, []shop.Line{{SKU: "x", Quantity: 1}}}, "HTTP_404", `GET /v1/products: 404 Not Found: there is no product "x"`},
		{"no quantity", "validate", Cart{at, []shop.Line{lines()[0], {SKU: "cup-blue"}}}, "", `line 2: the quantity of "cup-blue" must be at least 1, not 0`},
		{"out of stock", "reserve", Reserve{at, shop.ReservationRequest{Order: "1001", Lines: []shop.Line{{SKU: "tray-oak", Quantity: 1}}}}, "HTTP_422", `POST /v1/reservations: 422 Unprocessable Entity: 1 of "tray-oak" are not in stock`},
		{"a declined card", "charge", declined, "HTTP_422", "POST /v1/charges: 422 Unprocessable Entity: the card was declined"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := p.Run(t, sdktest.Attempt{Handler: test.handler, Input: test.input}).Failure
			if got == nil || got.Verdict != sdk.Final || got.Code != test.code || got.Message != test.message {
				t.Errorf("failure = %+v, want a permanent %s: %s", got, test.code, test.message)
			}
		})
	}
}

// TestCharge: one line says how the shop behaves; the amount that it takes is checked.
func TestCharge(t *testing.T) {
	api := sdktest.HTTP(t)
	charges := api.On("POST", "/v1/charges").Reply(429, sdktest.RetryAfter(2), 200, sdktest.JSON(shop.Charge{ID: "ch_1", AmountCents: 99}))
	p := start(t)
	a := sdktest.Attempt{Handler: "charge", Input: pay(api.URL, "1001", 100), IdempotencyKey: "k"}

	if got := p.Run(t, a).Failure; got == nil || got.RetryAfter != 2*time.Second {
		t.Errorf("failure %+v, want to wait 2s", got)
	}
	if got := p.Run(t, a).Failure; got == nil || got.Verdict != sdk.Final || got.Message != "charge ch_1 is of 99 cents, asked for 100" {
		t.Errorf("failure %+v, want the wrong amount", got)
	}
	for _, r := range charges.Requests() {
		var body shop.ChargeRequest
		if r.Decode(t, &body); body.AmountCents != 100 || r.Header.Get("Idempotency-Key") != "k" {
			t.Errorf("asked for %d cents under the key %q", body.AmountCents, r.Header.Get("Idempotency-Key"))
		}
	}
}
