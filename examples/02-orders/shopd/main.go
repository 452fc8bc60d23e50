// Command shopd serves the shop that the orders example talks to, on the loopback interface. It misbehaves on
// purpose; see -help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/tasker-engine/tasker/examples/02-orders/internal/shop"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "shopd:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("shopd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	addr := flags.String("addr", "127.0.0.1:8431", "loopback `address` to listen on; port 0 = any free one")
	seed := flags.Uint64("seed", 1, "`number` that determines what goes wrong")
	trouble := flags.Float64("trouble", 0.5, "`share` of the requests that go wrong, 0 to 1")
	delay := flags.Duration("delay", 3*time.Second, "how late a slow answer comes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := listen(ctx, *addr)
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	_, err = fmt.Fprintf(stdout, "shop on %s (seed %d, %.0f %% of the requests go wrong)\nledger: %s/v1/ledger\n", url, *seed, *trouble*100, url)
	if err != nil {
		return errors.Join(err, listener.Close())
	}

	log := slog.New(slog.NewTextHandler(stderr, nil))
	server := &http.Server{
		Handler:           shop.New(shop.Options{Seed: *seed, Trouble: *trouble, Delay: *delay, Log: log}),
		ReadHeaderTimeout: 5 * time.Second,
	}
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() }) // Serve returns, which is all that matters
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listen refuses every address but loopback ones: the shop knows no users.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, err
	}
	if !tcp.IP.IsLoopback() {
		return nil, fmt.Errorf("%s is no loopback address; the shop is for this machine only", addr)
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", tcp.String())
}
