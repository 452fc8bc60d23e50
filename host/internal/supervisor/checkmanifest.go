package supervisor

import pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"

// CheckManifest reports everything for which a host would refuse a manifest, one problem
// to a line.
func CheckManifest(m *pluginv1.Manifest) error {
	_, err := readManifest(m)
	return err
}
