package host

import (
	"context"

	"github.com/tasker-engine/tasker/host/internal/conform"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// What [VerifyPlugin] takes and returns.
type (
	// VerifyOptions say which plugin is checked, and how. Only Command is required.
	VerifyOptions = conform.Options
	// VerifyFixtures say what a plugin is called with where its schemas do not.
	VerifyFixtures = conform.Fixtures
	// VerifyReport is what was found.
	VerifyReport = conform.Report
	// VerifyOutcome is the result of one check.
	VerifyOutcome = conform.Outcome
	// VerifyCheck is one check: its id, its rule, and where the rule is written.
	VerifyCheck = conform.Check
)

// The results of a check.
const (
	VerifyPass = conform.Pass
	VerifyFail = conform.Fail
	VerifySkip = conform.Skip
)

// ErrVerifyUsage says that [VerifyOptions] make no sense: no program, an unknown check.
var ErrVerifyUsage = conform.ErrUsage

// VerifyPlugin checks that a plugin, in any language, keeps the wire as
// docs/plugin-wire.md writes it. It starts the plugin many times, calls its handlers with
// examples of their inputs and delivers examples of events, so the plugin does what it
// does. The error says that the options are wrong or that ctx ended; what the plugin does
// wrong is in the report.
func VerifyPlugin(ctx context.Context, opts VerifyOptions) (*VerifyReport, error) {
	if opts.CheckManifest == nil {
		opts.CheckManifest = supervisor.CheckManifest
	}
	return conform.Run(ctx, opts)
}

// VerifyChecks lists the checks of [VerifyPlugin], in the order of the report.
func VerifyChecks() []VerifyCheck { return conform.Checks() }

// ParseVerifyFixtures reads fixtures from YAML. Unknown keys are errors.
func ParseVerifyFixtures(doc []byte) (VerifyFixtures, error) { return conform.ParseFixtures(doc) }
