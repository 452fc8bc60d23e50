package supervisor

import (
	"os"
	"runtime"
)

// anyEnv among the variables that a manifest asks for asks for all that are granted.
const anyEnv = "*"

// inheritedEnv are the environment variables that every plugin sees.
func inheritedEnv() []string {
	names := []string{"PATH", "HOME", "TMPDIR", "LANG", "TZ"}
	if runtime.GOOS == "windows" { // programs do not start without these
		names = append(names, "SYSTEMROOT", "SYSTEMDRIVE", "TEMP", "TMP", "USERPROFILE", "PATHEXT", "COMSPEC")
	}
	return names
}

// scrubbedEnv returns the environment of a plugin: the inherited and granted names
// with their values, where they are set.
func scrubbedEnv(granted []string) []string {
	var env []string
	for _, name := range append(inheritedEnv(), granted...) {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
