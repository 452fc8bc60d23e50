package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// verify follows the chain through files, the oldest one first, and returns the exit code: 0 if it is whole.
func verify(paths []string, stdout, stderr io.Writer) int {
	c := &chain{}
	for _, path := range paths {
		if err := c.follow(path); err != nil {
			_, _ = fmt.Fprintln(stderr, err)
			return 1
		}
	}
	_, _ = fmt.Fprintf(stdout, "%d lines, from %q to %q: the chain is whole\n", c.lines, c.first, c.last)
	return 0
}

// chain is how far a chain was followed.
type chain struct {
	lines       int
	first, last string // what the first line says of the one before it; the hash of the last one
}

// follow follows the chain through one file.
func (c *chain) follow(path string) (err error) {
	f, err := openAny(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := bufio.NewReaderSize(f, 1<<16)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if err := c.link(line); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
}

// link takes the next line.
func (c *chain) link(line []byte) error {
	var is entry
	if err := json.Unmarshal(line, &is); err != nil {
		return fmt.Errorf("this line is no event: %w", err)
	}
	switch {
	case is.Prev == nil:
		return errors.New("this line is not chained")
	case c.lines == 0:
		c.first = *is.Prev
	case *is.Prev != c.last:
		return fmt.Errorf("the chain breaks: the line before has the hash %s, this one wants %s", c.last, *is.Prev)
	}
	c.lines++
	c.last = sum(line)
	return nil
}
