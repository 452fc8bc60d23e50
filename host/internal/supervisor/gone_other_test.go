//go:build unix && !linux

package supervisor

import "testing"

// awaitGone is for linux only; its callers skip elsewhere.
func awaitGone(t *testing.T, _ int) { t.Helper() }
