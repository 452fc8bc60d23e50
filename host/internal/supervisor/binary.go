package supervisor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Binary is a plugin that was installed: which file it is, and what was approved of it.
type Binary struct {
	Name    string // the plugin's name; a manifest that says another is refused
	Version string // semver; a manifest that says another is refused
	Path    string // the executable, absolute
	SHA256  string // of the executable, hex; a file that has another is refused. Empty = not checked
	// ManifestDigest is the digest of the manifest that was approved, hex (see
	// [Manifest.Digest]); a process that declares another is refused. Empty = not checked.
	ManifestDigest string
	// Manifest is that manifest, as it lies beside the executable; nil = nobody has read it.
	Manifest *Manifest
	// Granted are the permissions that were approved; nil = those that the manifest asks for.
	Granted *Permissions
	// Refused is why it must not be started, shown as its cause; nil = it may be. Path may
	// then be the directory of the version.
	Refused error
}

// Digest returns the SHA-256 of what the manifest says, hex: the same for two manifests
// that differ in the order of keys or in white space.
func (m *Manifest) Digest() (string, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("manifest of %s: %w", m.Name, err)
	}
	var doc any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return "", fmt.Errorf("manifest of %s: %w", m.Name, err)
	}
	if raw, err = json.Marshal(doc); err != nil { // keys sorted
		return "", fmt.Errorf("manifest of %s: %w", m.Name, err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}
