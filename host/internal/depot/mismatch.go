package depot

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers tell apart.
var (
	// ErrNotInstalled is returned for a plugin, or a version of one, that the lock does not have.
	ErrNotInstalled = errors.New("not installed")
	// ErrNoPrevious is returned when there is no version to go back to.
	ErrNoPrevious = errors.New("no previous version")
	// ErrPackage is wrapped by every error about a package that is not well-formed.
	ErrPackage = errors.New("no valid package")
	// ErrLock is wrapped by every error about a lock file that cannot be read.
	ErrLock = errors.New("no valid lock")
	// ErrInUse is returned for the removal of a version that is current while others are installed.
	ErrInUse = errors.New("in use")
)

// MismatchError says that something is not what the lock, the index or the operator
// expects.
type MismatchError struct {
	What     string // "signer of greeter 1.2.0"
	Expected string
	Found    string
	Accept   string // the command that accepts what was found, for a hint
}

// Error implements error.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: expected %s, found %s", e.What, e.Expected, e.Found)
}

// Hint returns the command that accepts what was found.
func (e *MismatchError) Hint() string { return e.Accept }

// orNone is a text, "none" when it is empty.
func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// withAccept puts the command that accepts a mismatch into the text of its error, for
// places that show nothing else: they may be looked at from anywhere, so it names the home.
func (d *Depot) withAccept(err error) error {
	m, ok := errors.AsType[*MismatchError](err)
	if !ok {
		return err
	}
	home := d.home
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./@:=,+%"
	if strings.Trim(home, plain) != "" {
		home = "'" + strings.ReplaceAll(home, "'", `'\''`) + "'"
	}
	return fmt.Errorf("%w: %s", err, strings.ReplaceAll(m.Accept, "tasker plugin ", "tasker --home "+home+" plugin "))
}

// hintedError is an error that says what to do next.
type hintedError struct {
	error

	hint string
}

func withHint(err error, hint string) error { return &hintedError{err, hint} }

func (e *hintedError) Unwrap() error { return e.error }

// Hint returns what to do next.
func (e *hintedError) Hint() string { return e.hint }
