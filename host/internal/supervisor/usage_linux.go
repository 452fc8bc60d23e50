package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// ticksPerSecond is the unit of processor times in /proc, the same on all of Linux's
// platforms that Go runs on.
const ticksPerSecond = 100

// Fields of /proc/PID/stat, counted from the one behind the command.
const (
	statUser   = 11
	statSystem = 12
	statRSS    = 21
)

// usage returns what a process has in memory and has used of the processors; ok is false
// when there is no such process any more.
func usage(pid int) (rss int64, cpu time.Duration, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, false
	}
	end := bytes.LastIndexByte(text, ')') // a command may hold spaces and brackets
	fields := bytes.Fields(text[end+1:])
	if end < 0 || len(fields) <= statRSS {
		return 0, 0, false
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(string(fields[i]), 10, 64) // the kernel wrote it
		return n
	}
	ticks := number(statUser) + number(statSystem)
	return number(statRSS) * int64(os.Getpagesize()), time.Duration(ticks) * (time.Second / ticksPerSecond), true
}
