package supervisor

import pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"

// CheckManifest reports everything for which a host would refuse a manifest, one problem
// to a line, and what grants nothing: see [CheckPointers].
func CheckManifest(m *pluginv1.Manifest) error {
	read, err := readManifest(m)
	if err != nil {
		return err
	}
	return CheckPointers(read)
}
