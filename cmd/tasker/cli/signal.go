package cli

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// sameInterrupt is the time within which two signals are one: a wrapper such as timeout
// signals the process and then its group.
const sameInterrupt = 100 * time.Millisecond

// secondInterrupt returns a channel that is closed at the second interrupt or terminate
// signal; the first one ends the command's context. stop ends the listening.
func secondInterrupt() (second <-chan struct{}, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	closed, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		var first time.Time
		for {
			select {
			case <-signals:
				switch {
				case first.IsZero():
					first = time.Now()
				case time.Since(first) > sameInterrupt:
					close(closed)
					return
				}
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

// onHangup calls f for each hangup signal, one after the other. stop ends the listening and
// waits for f.
func onHangup(f func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	ended := make(chan struct{})
	go func() { // ends with stop
		defer close(ended)
		for range signals {
			f()
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-ended
	}
}
