package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/tasker-engine/tasker/host/internal/cgroup"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/shim"
)

// openGroups finds where processes get cgroups, and ends what a dead host left there. The run
// directory is this host's alone, so the names that are made of it are as well.
func (s *Supervisor) openGroups() (*cgroup.Tree, error) {
	if !s.opts.Isolation.any() {
		return nil, errNotAsked
	}
	groups, err := cgroup.Find()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(s.opts.RunDir))
	if err := groups.Prepare("tasker-" + hex.EncodeToString(sum[:4]) + "-"); err != nil {
		s.opts.Logger.Warn("processes that a dead host left do not end", logkeys.Error, err)
	}
	return groups, nil
}

// errNotAsked says that no plugin is isolated.
var errNotAsked = fmt.Errorf("%w: isolation is off", cgroup.ErrNone)

// any reports whether something is kept from some plugin.
func (i Isolation) any() bool {
	on := i.profile("") != shim.Off
	for name := range i.Profiles {
		on = on || i.profile(name) != shim.Off
	}
	return on
}
