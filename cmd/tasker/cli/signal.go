package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// secondInterrupt returns a channel that is closed at the second interrupt or terminate
// signal; the first one ends the command's context. stop ends the listening.
func secondInterrupt() (second <-chan struct{}, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	closed, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		first := true
		for {
			select {
			case <-signals:
				if !first {
					close(closed)
					return
				}
				first = false
			case <-ended:
				return
			}
		}
	}()
	return closed, func() {
		signal.Stop(signals)
		close(ended)
	}
}
