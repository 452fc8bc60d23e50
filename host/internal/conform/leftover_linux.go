package conform

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// leftovers returns the processes, other than itself, that a process has started and
// that live: "4711 sleep". ok is false where this cannot be known.
func leftovers(p *process) (alive []string, ok bool) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(dirs) == 0 {
		return nil, false
	}
	marked := []byte(markKey + "=" + p.mark)
	for _, dir := range dirs {
		pid := filepath.Base(dir)
		if pid == strconv.Itoa(p.cmd.Process.Pid) {
			continue
		}
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it has ended
		}
		name, fields, found := strings.Cut(string(stat), ") ")
		if !found || strings.HasPrefix(fields, "Z") || strings.HasPrefix(fields, "X") {
			continue
		}
		of := strings.Fields(fields) // state, parent, group, ...
		environ, _ := os.ReadFile(dir + "/environ")
		mine := len(of) > 2 && of[2] == strconv.Itoa(p.cmd.Process.Pid) || bytes.Contains(environ, marked)
		if mine {
			_, name, _ = strings.Cut(name, "(")
			alive = append(alive, pid+" "+name)
		}
	}
	return alive, true
}
