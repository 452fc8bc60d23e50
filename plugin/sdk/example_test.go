package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

type Guest struct {
	Name string `json:"name"`
}

type Greeting struct {
	Text string `json:"text"`
}

func greet(_ context.Context, in Guest) (Greeting, error) {
	return Greeting{Text: "Hello, " + in.Name + "!"}, nil
}

// A whole plugin. Build it as tasker-plugin-greeter and templates can use "greeter/greet".
func Example() {
	main := func() {
		sdk.Serve(sdk.Plugin{
			Name:     "greeter",
			Version:  "1.0.0",
			Handlers: sdk.Handlers{"greet": sdk.Func(greet)},
		})
	}
	_ = main // started by a host
}

// A handler from a function. Hosts call it over the wire; a unit test may call it directly.
func ExampleFunc() {
	h := sdk.Func(greet)
	out, err := h.Process(context.Background(), json.RawMessage(`{"name": "Ada"}`))
	fmt.Println(out, err)
	// Output: {Hello, Ada!} <nil>
}

// Options say what the types cannot.
func ExampleFunc_options() {
	h := sdk.Func(greet, sdk.Options{
		Description: "Greets a guest.",
		Timeout:     10 * time.Second,
		Idempotency: sdk.Idempotent,
		Retry:       sdk.Retry{Limit: 5, Backoff: sdk.Exponential, Base: time.Second},
	})
	_, err := h.Process(context.Background(), json.RawMessage(`{"name": 7}`))
	fmt.Println(sdk.Explain(err).Verdict, sdk.Explain(err).Code)
	// Output: permanent invalid_input
}

type Order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

type Payment struct {
	Reference string `json:"reference"`
	Raw       []byte `json:"-"`
}

type Receipt struct {
	Reference string `json:"reference"`
	Answer    int    `json:"answer_bytes"`
}

// Charge is a handler with something to hold on to.
type Charge struct{ currency string }

// Process does the work.
func (c *Charge) Process(_ context.Context, o Order) (Payment, error) {
	return Payment{Reference: c.currency + "-" + o.ID, Raw: []byte("ok")}, nil
}

// ProcessResults shapes what is stored.
func (c *Charge) ProcessResults(_ context.Context, p Payment) (Receipt, error) {
	return Receipt{Reference: p.Reference, Answer: len(p.Raw)}, nil
}

// A handler from a value, whose ProcessResults shapes what is stored.
func ExampleTyped() {
	charge := &Charge{currency: "EUR"}
	h := sdk.Typed(charge)
	out, err := h.Process(context.Background(), json.RawMessage(`{"id": "17", "cents": 990}`))
	fmt.Println(out.(Payment).Reference, err) //nolint:errcheck,forcetypeassert // an example
	// Output: EUR-17 <nil>
}

// Three verdicts, and what else can be said, compose in any order.
func ExamplePermanent() {
	declined := errors.New("card declined")
	err := sdk.Permanent(sdk.WithCode(sdk.WithDetails(declined, map[string]int{"cents": 990}), "card_declined"))

	said := sdk.Explain(fmt.Errorf("charge order 17: %w", err))
	fmt.Println(said.Err)
	fmt.Println(said.Verdict, said.Code, said.Details)
	fmt.Println(errors.Is(err, declined))
	// Output:
	// charge order 17: card declined
	// permanent card_declined map[cents:990]
	// true
}

// What a service asks for is at least waited for.
func ExampleRetryAfter() {
	busy := fmt.Errorf("the warehouse answered %d", http.StatusTooManyRequests)
	said := sdk.Explain(sdk.RetryAfter(sdk.Downstream(busy), 30*time.Second))
	fmt.Println(said.Verdict, said.RetryAfter, said.Source == sdk.FromDownstream)
	// Output: retryable 30s true
}

// Import goes on where the attempt before it stopped.
func ExampleCheckpoint() {
	rows := []string{"a", "b", "c"}
	importRows := func(ctx context.Context, _ struct{}) (int, error) {
		done, _, err := sdk.LastCheckpoint[int](ctx)
		if err != nil {
			return 0, err
		}
		for ; done < len(rows); done++ {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx) // cancelled, or out of time
			}
			sdk.Logger(ctx).Info("importing", "row", rows[done])
			sdk.Heartbeat(ctx, float64(done)/float64(len(rows)), rows[done])
			if err := sdk.Checkpoint(ctx, done+1); err != nil {
				return 0, err
			}
		}
		return done, nil
	}
	fmt.Println(importRows(context.Background(), struct{}{}))
	// Output: 3 <nil>
}

// MailConfig is what a step's config looks like.
type MailConfig struct {
	Template string       `json:"template"`
	Patience sdk.Duration `json:"patience,omitempty"`
}

// A handler that reads its step's config and the results of the step "charge".
func ExampleConfig() {
	mail := func(ctx context.Context, g Guest) (string, error) {
		config, err := sdk.Config[MailConfig](ctx)
		if err != nil {
			return "", err
		}
		receipt, err := sdk.Result[Receipt](ctx, "charge")
		if err != nil {
			return "", err
		}
		return g.Name + ": " + config.Template + " " + receipt.Reference, nil
	}
	h := sdk.Func(mail, sdk.Options{Config: MailConfig{}})
	_, err := h.Process(context.Background(), json.RawMessage(`{"name": "Ada"}`))
	fmt.Println(err)
	// Output: step "charge": no such dependency result: not in an attempt
}
