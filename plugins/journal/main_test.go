package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestCommand: help names verify, and so does what is no command.
func TestCommand(t *testing.T) {
	tests := map[string]struct {
		args []string
		code int
		done bool
		says string
	}{
		"a host's start": {},
		"--describe":     {args: []string{"--describe"}},
		"--help":         {args: []string{"--help"}, says: usage},
		"a typing error": {args: []string{"verfy", "f"}, code: 2, done: true, says: "there is no command \"verfy\"\n" + usage},
		"no file":        {args: []string{"verify"}, code: 2, done: true, says: "verify: name the files\n" + usage},
		"no such file":   {args: []string{"verify", "testdata/none"}, code: 1, done: true, says: "none"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out, said bytes.Buffer
			code, done := command(tt.args, &out, &said)
			if code != tt.code || done != tt.done || !strings.Contains(said.String(), tt.says) || (tt.says == "") != (said.Len() == 0) {
				t.Errorf("code %d, done %t, said %q; want %d, %t, %q", code, done, &said, tt.code, tt.done, tt.says)
			}
		})
	}
}
