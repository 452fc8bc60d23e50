package shim

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
)

// landlock restricts files, sockets and signals with what the interface of this version can.
func (p *Plan) landlock(abi int) error {
	config := configOf(abi)
	if p.network() != networkNone {
		config.HandledAccessNet = 0
	}
	rules, err := p.rules(abi)
	if err != nil {
		return err
	}
	if err := config.Restrict(rules...); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return nil
}

// configOf returns all that the interface of one version can refuse.
func configOf(abi int) landlock.Config {
	all := []landlock.Config{
		landlock.V1, landlock.V2, landlock.V3, landlock.V4, landlock.V5, landlock.V6,
		landlock.V7, landlock.V8, landlock.V9, landlock.V10, landlock.V11,
	}
	return all[min(abi, len(all))-1]
}

// rules returns what is not refused.
func (p *Plan) rules(abi int) ([]landlock.Rule, error) {
	var rules []landlock.Rule
	add := func(paths []string, rule func(path string, dir bool) landlock.FSRule) error {
		for _, path := range paths {
			info, err := os.Stat(path)
			switch {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
				continue // what is not there, or not for this user, needs no rule
			case err != nil:
				return fmt.Errorf("granted path: %w", err)
			}
			rules = append(rules, rule(path, info.IsDir()).IgnoreIfMissing())
		}
		return nil
	}
	read := func(path string, dir bool) landlock.FSRule {
		if dir {
			return landlock.RODirs(path)
		}
		return landlock.ROFiles(path)
	}
	write := func(path string, dir bool) landlock.FSRule {
		rule := landlock.RWFiles(path)
		if dir {
			rule = landlock.RWDirs(path)
		}
		if dir && abi >= abiRefer {
			rule = rule.WithRefer()
		}
		if abi >= abiUnix {
			rule = rule.WithResolveUnix()
		}
		if abi >= abiIoctl && p.unrestricted() {
			rule = rule.WithIoctlDev()
		}
		return rule
	}
	err := errors.Join(
		add(append([]string{p.Path}, p.Trees...), read),
		add(around(p.readable(), p.Except), read),
		add(around(everythingIsRoot(slices.Concat(p.Read, p.Write)), p.Except), read),
		add(devices(), write),
		add(p.Private, write),
		add(around(everythingIsRoot(p.Write), slices.Concat(p.Except, p.Sealed)), write),
	)
	return rules, err
}

// The versions of Landlock's interface that know moving between directories and the
// control of devices.
const (
	abiRefer = 2
	abiIoctl = 5
)

func everythingIsRoot(paths []string) []string {
	if isEverything(paths) {
		return []string{"/"}
	}
	return paths
}

// devices are those that every program may use.
func devices() []string {
	return []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
}

// readable returns what every plugin may read of the system: what programs need to run, to
// find hosts and to check certificates.
func (p *Plan) readable() []string {
	paths := append([]string(nil), "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store", "/var/lib/ca-certificates",
		"/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf",
		"/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/version", "/proc/sys/kernel", "/proc/sys/vm", "/proc/sys/net",
		"/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage")
	if os.Geteuid() != 0 {
		paths = append(paths, "/etc") // what is secret there, root alone may read
	} else {
		for _, name := range []string{
			"alternatives", "ca-certificates", "crypto-policies", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "pki/tls", "pki/ca-trust",
			"ssl/certs", "ssl/cert.pem", "ssl/ca-bundle.pem", "ssl/openssl.cnf", "resolv.conf", "hosts", "hostname", "host.conf", "gai.conf", "nsswitch.conf",
			"services", "protocols", "passwd", "group", "localtime", "timezone", "mime.types", "os-release",
		} {
			paths = append(paths, "/etc/"+name)
		}
	}
	if p.Subprocess {
		paths = append(paths, "/proc", "/dev") // of other processes, what they tell everybody
	}
	if p.Script {
		paths = append(paths, filepath.Dir(p.Path))
		if prefix := interpreterPrefix(p.Path); prefix != "" {
			paths = append(paths, prefix)
		}
	}
	return paths
}

// interpreterPrefix returns the directory with what belongs to a script's interpreter,
// "/opt/node" for "/opt/node/bin/node", empty when it is not known.
func interpreterPrefix(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	line, err := bufio.NewReader(f).ReadString('\n')
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if err != nil || len(words) == 0 {
		return ""
	}
	program := words[0]
	if filepath.Base(program) == "env" {
		i := slices.IndexFunc(words[1:], func(w string) bool { return !strings.HasPrefix(w, "-") && !strings.Contains(w, "=") })
		if i < 0 {
			return ""
		}
		if program, err = exec.LookPath(words[1+i]); err != nil {
			return ""
		}
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return ""
	}
	prefix := filepath.Dir(filepath.Dir(program))
	if prefix == "/" {
		return ""
	}
	return prefix
}
