package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// memoryUsed is the memory that this process holds, in bytes, and the part of it that no
// file backs; 0 when the system does not tell.
func memoryUsed() (rss, anon int64) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0
	}
	var size, resident, shared int64
	if _, err := fmt.Sscan(string(text), &size, &resident, &shared); err != nil {
		return 0, 0
	}
	page := int64(os.Getpagesize())
	return resident * page, (resident - shared) * page
}

// syncMode says what a commit waits for.
const syncMode = "fdatasync"

// syncData waits until what was written to the file is on the disk.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// processor names the processor.
func processor() string { return field("/proc/cpuinfo", "model name") }

// memory is how much memory the machine has, such as "8167848 kB".
func memory() string { return field("/proc/meminfo", "MemTotal") }

// kernel is the release of the operating system.
func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(text))
}

// field returns the value of the first "name: value" of a file.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystem names the file system that a directory lies on, such as "ext4 on /dev/sda1".
func fileSystem(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	if target, err := filepath.EvalSymlinks(abs); err == nil {
		abs = target
	}
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return ""
	}
	found, longest := "", -1
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		under := f[1] == "/" || abs == f[1] || strings.HasPrefix(abs, f[1]+"/")
		if under && len(f[1]) >= longest {
			found, longest = fmt.Sprintf("%s on %s", f[2], f[0]), len(f[1])
		}
	}
	return found
}
