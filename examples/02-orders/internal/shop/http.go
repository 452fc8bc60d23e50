package shop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// maxBody is the size of the largest request body, in bytes.
const maxBody = 64 << 10

// Options say how the shop behaves. The zero value behaves well and logs nothing.
type Options struct {
	// Seed determines what goes wrong.
	Seed uint64
	// Trouble is the share of requests that go wrong, 0 to 1.
	Trouble float64
	// Delay is how late a slow answer comes.
	Delay time.Duration
	// Log receives a line for each request. Nil = none.
	Log *slog.Logger
}

// server is the HTTP side of the shop.
type server struct {
	store    *store
	troubles *troubles
	delay    time.Duration
	log      *slog.Logger

	mu      sync.Mutex
	answers map[string]*answer // by route and idempotency key
}

// answer is what a key was answered; its mutex is held while the work is done.
type answer struct {
	mu     sync.Mutex
	done   bool
	ask    []byte // the request's body
	status int
	body   []byte
}

// New makes a shop.
//
//	GET  /v1/products?sku=a&sku=b   []Product, in that order
//	POST /v1/reservations           ReservationRequest  -> Reservation
//	POST /v1/charges                ChargeRequest       -> Charge
//	POST /v1/shipments              ShipmentRequest     -> Shipment
//	POST /v1/notifications          NotificationRequest -> Notification
//	GET  /v1/ledger                 Ledger; never misbehaves
//
// POST needs an Idempotency-Key. Refusals are {"code", "message"}.
func New(o Options) http.Handler {
	s := &server{
		store: newStore(), delay: o.Delay, log: o.Log, answers: map[string]*answer{},
		troubles: &troubles{seed: o.Seed, share: o.Trouble, routes: map[string]*routeTroubles{}},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/ledger", func(w http.ResponseWriter, _ *http.Request) {
		body, _ := json.MarshalIndent(s.store.ledger(), "", "  ") // maps and structs of plain values
		reply(w, http.StatusOK, append(body, '\n'))
	})
	mux.HandleFunc("GET /v1/products", s.misbehaving(func(r *http.Request) (int, []byte) {
		return result(s.store.find(r.URL.Query()["sku"]))
	}))
	mux.HandleFunc("POST /v1/reservations", s.misbehaving(once(s, s.store.reserve)))
	mux.HandleFunc("POST /v1/charges", s.misbehaving(once(s, s.store.charge)))
	mux.HandleFunc("POST /v1/shipments", s.misbehaving(once(s, s.store.ship)))
	mux.HandleFunc("POST /v1/notifications", s.misbehaving(once(s, s.store.notify)))
	return mux
}

// misbehaving serves a route, with the troubles that its turn brings.
func (s *server) misbehaving(work func(*http.Request) (int, []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		t := s.troubles.next(r.Pattern)
		s.store.count(string(t))
		status, body := s.answer(t, r, work)
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		s.log.InfoContext(r.Context(), r.Method+" "+r.URL.Path, "status", status, "trouble", string(t), "key", r.Header.Get("Idempotency-Key"))
		reply(w, status, body)
	}
}

func (s *server) answer(t trouble, r *http.Request, work func(*http.Request) (int, []byte)) (int, []byte) {
	switch t {
	case limited:
		return refuse(http.StatusTooManyRequests, "limited", "too many requests, wait a second")
	case unavailable:
		return refuse(http.StatusServiceUnavailable, "unavailable", "down for a moment")
	case lost:
		work(r)
		return refuse(http.StatusBadGateway, "lost", "the answer got lost on the way")
	case garbled:
		_, body := work(r)
		return http.StatusOK, body[:len(body)/2]
	case slow:
		status, body := work(r)
		wait := time.NewTimer(s.delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done(): // the client waits no longer
		}
		return status, body
	default:
		return work(r)
	}
}

// once does the work of a request whose key is new, and repeats the answer to one whose key is known.
func once[I, O any](s *server, work func(I) (O, error)) func(*http.Request) (int, []byte) {
	return func(r *http.Request) (int, []byte) {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			return refuse(http.StatusBadRequest, "no_key", "the request has no Idempotency-Key")
		}
		ask, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
		if err != nil {
			return refuse(http.StatusBadRequest, "unreadable", err.Error())
		}
		s.mu.Lock()
		a := s.answers[r.Pattern+" "+key]
		if a == nil {
			a = &answer{}
			s.answers[r.Pattern+" "+key] = a
		}
		s.mu.Unlock()

		a.mu.Lock()
		defer a.mu.Unlock()
		if a.done {
			s.store.count("repeated")
			if !bytes.Equal(a.ask, ask) {
				return refuse(http.StatusUnprocessableEntity, "key_reused", "the Idempotency-Key was used for another request")
			}
			return a.status, a.body
		}
		var in I
		if err := json.Unmarshal(ask, &in); err != nil {
			return refuse(http.StatusBadRequest, "bad_json", err.Error())
		}
		a.status, a.body = result(work(in))
		a.done, a.ask = true, ask
		return a.status, a.body
	}
}

// result is the answer that a value or an error makes.
func result(v any, err error) (int, []byte) {
	if no, ok := errors.AsType[*refusal](err); ok {
		return refuse(no.status, no.code, no.message)
	}
	body, err := json.Marshal(v)
	if err != nil {
		return refuse(http.StatusInternalServerError, "internal", fmt.Sprint(err))
	}
	return http.StatusOK, append(body, '\n')
}

func refuse(status int, code, message string) (int, []byte) {
	body, _ := json.Marshal(map[string]string{"code": code, "message": message}) // strings always marshal
	return status, append(body, '\n')
}

func reply(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // it is JSON and says so; a client that is gone will ask again
}
