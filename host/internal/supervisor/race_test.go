//go:build unix && race

package supervisor

const raceEnabled = true
