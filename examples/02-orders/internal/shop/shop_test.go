package shop

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type answered struct {
	Status     int
	RetryAfter string
	Body       string
}

func ask(t *testing.T, url, method, path, key, body string) answered {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{resp.StatusCode, resp.Header.Get("Retry-After"), strings.TrimSpace(string(got))}
}

func ledger(t *testing.T, url string) Ledger {
	t.Helper()
	var l Ledger
	if err := json.Unmarshal([]byte(ask(t, url, http.MethodGet, "/v1/ledger", "", "").Body), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

func serve(t *testing.T, o Options) string {
	t.Helper()
	s := httptest.NewServer(New(o))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAnswers(t *testing.T) {
	url := serve(t, Options{})
	for _, test := range []struct {
		name, method, path, key, body string
		want                          answered
	}{
		{"products, in order", "GET", "/v1/products?sku=tray-oak&sku=cup-blue", "", "", answered{Status: 200, Body: `[{"sku":"tray-oak","name":"Oak tray","unit_cents":3200,"stock":0},{"sku":"cup-blue","name":"Blue cup","unit_cents":1250,"stock":24}]`}},
		{"an unknown product", "GET", "/v1/products?sku=x", "", "", answered{Status: 404, Body: `{"code":"unknown_product","message":"there is no product \"x\""}`}},
		{"no key", "POST", "/v1/charges", "", `{}`, answered{Status: 400, Body: `{"code":"no_key","message":"the request has no Idempotency-Key"}`}},
		{"a reservation", "POST", "/v1/reservations", "r1", `{"order":"1","lines":[{"sku":"cup-blue","quantity":4}]}`, answered{Status: 200, Body: `{"id":"res_0001","order":"1","lines":[{"sku":"cup-blue","quantity":4}]}`}},
		{"the same again", "POST", "/v1/reservations", "r1", `{"order":"1","lines":[{"sku":"cup-blue","quantity":4}]}`, answered{Status: 200, Body: `{"id":"res_0001","order":"1","lines":[{"sku":"cup-blue","quantity":4}]}`}},
		{"the key for something else", "POST", "/v1/reservations", "r1", `{"order":"2"}`, answered{Status: 422, Body: `{"code":"key_reused","message":"the Idempotency-Key was used for another request"}`}},
		{"out of stock", "POST", "/v1/reservations", "r2", `{"order":"2","lines":[{"sku":"cup-blue","quantity":1},{"sku":"tray-oak","quantity":1}]}`, answered{Status: 422, Body: `{"code":"out_of_stock","message":"1 of \"tray-oak\" are not in stock"}`}},
		{"bad JSON", "POST", "/v1/charges", "c0", `{`, answered{Status: 400, Body: `{"code":"bad_json","message":"unexpected end of JSON input"}`}},
		{"a charge", "POST", "/v1/charges", "c1", `{"order":"1","card":"tok_visa","amount_cents":5000,"currency":"EUR"}`, answered{Status: 200, Body: `{"id":"ch_0002","order":"1","amount_cents":5000,"currency":"EUR"}`}},
		{"no amount", "POST", "/v1/charges", "c2", `{"order":"1","card":"tok_visa"}`, answered{Status: 422, Body: `{"code":"bad_amount","message":"the amount must be positive"}`}},
		{"a declined card", "POST", "/v1/charges", "c3", `{"order":"2","card":"tok_declined","amount_cents":1}`, answered{Status: 422, Body: `{"code":"card_declined","message":"the card was declined"}`}},
		{"a declined card again", "POST", "/v1/charges", "c3", `{"order":"2","card":"tok_declined","amount_cents":1}`, answered{Status: 422, Body: `{"code":"card_declined","message":"the card was declined"}`}},
		{"a shipment of another order's stock", "POST", "/v1/shipments", "s1", `{"order":"2","reservation":"res_0001"}`, answered{Status: 422, Body: `{"code":"no_reservation","message":"order \"2\" has no reservation \"res_0001\""}`}},
		{"a shipment", "POST", "/v1/shipments", "s2", `{"order":"1","reservation":"res_0001","address":"here"}`, answered{Status: 200, Body: `{"id":"sh_0003","order":"1","tracking":"TRK-0003"}`}},
		{"a notification", "POST", "/v1/notifications", "n1", `{"order":"1","to":"ada","text":"hi"}`, answered{Status: 200, Body: `{"id":"msg_0004","order":"1","to":"ada","text":"hi"}`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(ask(t, url, test.method, test.path, test.key, test.body), test.want); diff != "" {
				t.Errorf("answer (-got +want):\n%s", diff)
			}
		})
	}
	want := Ledger{
		Orders:   map[string]OrderEntry{"1": {Reservations: 1, Charges: 1, ChargedCents: 5000, Shipments: 1, Notifications: 1}},
		Stock:    map[string]int{"cup-blue": 20, "pot-cast": 6, "tea-assam": 40, "tray-oak": 0},
		Requests: map[string]int{"answered": 15, "repeated": 3},
	}
	if diff := cmp.Diff(ledger(t, url), want); diff != "" {
		t.Errorf("ledger (-got +want):\n%s", diff)
	}
}

// TestTroubles: with a seed, the same goes wrong in the same order; everything that can, does; never more than
// inARow times; and what is done behind a bad answer is done once.
func TestTroubles(t *testing.T) {
	charge := func(url, key string) answered {
		return ask(t, url, http.MethodPost, "/v1/charges", key, `{"order":"1","card":"tok_visa","amount_cents":100,"currency":"EUR"}`)
	}
	run := func(seed uint64) (answers []answered, l Ledger) {
		url := serve(t, Options{Seed: seed, Trouble: 0.8, Delay: time.Millisecond})
		bad := 0
		for range 60 {
			a := charge(url, "the key")
			answers = append(answers, a)
			if a.Status == http.StatusOK && json.Valid([]byte(a.Body)) {
				bad = 0 // slow answers are good ones
			} else if bad++; bad > inARow {
				t.Errorf("%d bad answers in a row, want at most %d", bad, inARow)
			}
		}
		return answers, ledger(t, url)
	}
	one, l := run(1)
	again, _ := run(1)
	if diff := cmp.Diff(again, one); diff != "" {
		t.Errorf("two runs with one seed differ:\n%s", diff)
	}
	other, _ := run(2)
	if cmp.Equal(other, one) {
		t.Error("two seeds gave the same troubles")
	}
	if want := (OrderEntry{Charges: 1, ChargedCents: 100}); l.Orders["1"] != want {
		t.Errorf("ledger = %+v, want %+v: one key, one charge", l.Orders["1"], want)
	}
	for _, kind := range []trouble{none, limited, unavailable, slow, lost, garbled} {
		if l.Requests[string(kind)] == 0 {
			t.Errorf("no request of 60 was %s", kind)
		}
	}
	seen := map[int]string{}
	for _, a := range one {
		seen[a.Status] = a.RetryAfter
	}
	if diff := cmp.Diff(seen, map[int]string{200: "", 429: "1", 502: "", 503: ""}); diff != "" {
		t.Errorf("status and Retry-After (-got +want):\n%s", diff)
	}
}

// TestConcurrentKeys: of many requests with one key at once, one does the work.
func TestConcurrentKeys(t *testing.T) {
	url := serve(t, Options{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			ask(t, url, http.MethodPost, "/v1/charges", "one", `{"order":"1","card":"tok_visa","amount_cents":7}`)
		})
	}
	wg.Wait()
	if got := ledger(t, url).Orders["1"].ChargedCents; got != 7 {
		t.Errorf("charged %d cents, want 7", got)
	}
}
