package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// The owner note lies beside the file and says for people which process has it open
// for writing. The lock itself is the operating system's: a note that a killed process
// left behind locks nothing.

// ownerPath is where the note of a store lies.
func ownerPath(path string) string { return path + ".owner" }

func writeOwner(path, command string, now time.Time) error {
	note := fmt.Sprintf("process %d (%s), since %s\n",
		os.Getpid(), strings.Join(strings.Fields(command), " "), now.UTC().Format(time.RFC3339))
	if err := os.WriteFile(ownerPath(path), []byte(note), fileMode); err != nil {
		return fmt.Errorf("note the owner: %w", err)
	}
	return nil
}

func removeOwner(path string) error {
	if err := os.Remove(ownerPath(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the owner note: %w", err)
	}
	return nil
}

// lockedError says who holds the file and what to do about it.
func lockedError(path string, waited time.Duration) error {
	note, err := os.ReadFile(ownerPath(path))
	if err != nil {
		return fmt.Errorf("%w: store %s: another process reads it and did not let go within %s: try again when it has ended", task.ErrLocked, path, waited)
	}
	return fmt.Errorf("%w: store %s is held by %s: talk to that host, stop it, or use another home", task.ErrLocked, path, strings.TrimSpace(string(note)))
}
