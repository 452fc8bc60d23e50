package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

func (a *app) debugCommand() *cobra.Command {
	return a.noun("debug", "Look into a host that runs", a.debugMetricsCommand(), a.debugProfileCommand())
}

func (a *app) debugMetricsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "metrics",
		Short: "Print the metrics of the host",
		Long: `Print the metrics of the host that runs in the home, in the text format of Prometheus.
A host measures when somebody looks: with metrics.listen in tasker.yaml, or with the
variables OTEL_METRICS_EXPORTER or OTEL_EXPORTER_OTLP_ENDPOINT.`,
		Example: "  tasker debug metrics | grep tasker_delivery_lag",
		Args:    args(0, 0),
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
			return client.Metrics(ctx, a.out)
		})
	}
	return c
}

// profiles are the kinds of profiles, with what they show and what reads them.
func profiles() []struct{ kind, help, reader string } {
	return []struct{ kind, help, reader string }{
		{"cpu", "where the processor time goes", "pprof"},
		{"heap", "what memory holds, and who allocated it", "pprof"},
		{"goroutine", "what all goroutines are doing", "pprof"},
		{"trace", "what ran when, and why it waited", "trace"},
	}
}

func (a *app) debugProfileCommand() *cobra.Command {
	var kinds []string
	var help strings.Builder
	help.WriteString("Profile the host that runs in the home and write the profile to a file:\n\n")
	for _, p := range profiles() {
		kinds = append(kinds, p.kind)
		fmt.Fprintf(&help, "  %-10s %s\n", p.kind, p.help)
	}
	c := &cobra.Command{
		Use:       "profile {cpu|heap|goroutine|trace}",
		Short:     "Profile the host",
		Long:      help.String() + "\nThe host goes on meanwhile. The next command to type is shown at the end.",
		Example:   "  tasker debug profile cpu --seconds 30 -o cpu.pprof",
		Args:      args(1, 1),
		ValidArgs: kinds,
	}
	seconds := c.Flags().Int("seconds", 10, "how many `SECONDS` to watch, for cpu and trace")
	output := c.Flags().StringP("output", "o", "", "`FILE` for the profile (default KIND.pprof, or trace.out)")
	c.RunE = func(c *cobra.Command, words []string) error {
		if c.Flags().Changed("seconds") && (words[0] == "heap" || words[0] == "goroutine") {
			return usageOf(c, fmt.Errorf("--seconds: a profile of kind %s is of one moment", words[0]))
		}
		for _, p := range profiles() {
			if p.kind == words[0] {
				return a.profile(c, p.kind, p.reader, time.Duration(*seconds)*time.Second, *output)
			}
		}
		return usageOf(c, fmt.Errorf("profile %w", oneOf(words[0], kinds...)))
	}
	return c
}

// profile writes a profile of the host to a file, which must be complete to be left there.
func (a *app) profile(c *cobra.Command, kind, reader string, length time.Duration, path string) error {
	mode := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if path == "" {
		path = kind + ".pprof"
		if reader == "trace" {
			path = "trace.out"
		}
		mode |= os.O_EXCL // nobody named it
	}
	return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
		file, err := os.OpenFile(path, mode, 0o644) //nolint:gosec // a profile is no secret
		if errors.Is(err, fs.ErrExist) {
			return withHint(fmt.Errorf("profile: %s is there already", path), "name another file with -o, or the same to replace it")
		}
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		err = client.Profile(ctx, kind, length, file, func(elapsed time.Duration) {
			a.note("%s of %s", elapsed.Round(time.Second), length)
		})
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			_ = os.Remove(path) // half a profile is none
			return err
		}
		a.note("next: go tool %s %s", reader, path)
		_, err = fmt.Fprintln(a.out, path)
		return err
	})
}
