package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// config is what every handler's config has.
type config interface{ ledger() string }

// common is embedded by every handler's config.
type common struct {
	Ledger string `json:"ledger,omitempty" jsonschema_description:"A file that each attempt appends to, as it starts and as it ends."`
}

func (c common) ledger() string { return c.Ledger }

// record appends to the ledger: the attempt and what it does. One write, so that processes can share the file.
func record(ctx context.Context, ledger, what string) error {
	if ledger == "" {
		return nil
	}
	f, err := os.OpenFile(ledger, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	_, err = fmt.Fprintf(f, "%s %s\n", sdk.Attempt(ctx).ID, what)
	return errors.Join(err, f.Close())
}

// faulty is embedded by the configs of handlers that fail in the first attempts of a step. Attempts are counted
// by their number, so that the count is the same in every process.
type faulty struct {
	Times *int `json:"times,omitempty" jsonschema:"minimum=0" jsonschema_description:"How many attempts fail. Default all."`
}

func (f faulty) fails(ctx context.Context) bool {
	return f.Times == nil || sdk.Attempt(ctx).Number <= *f.Times
}
