package depot

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"aead.dev/minisign"
)

// SignatureSuffix is added to the name of a package for its signature.
const SignatureSuffix = ".minisig"

// Unsigned stands for no signer where one is named.
const Unsigned = "none"

const maxSignature = 4 << 10 // bytes

// GenerateKey makes a key pair in minisign's format and writes it into two new files of
// mode 0600 and 0644; neither may exist. The private key is encrypted unless the password
// is empty. It returns the public key as one word.
func GenerateKey(private, public, password string) (string, error) {
	pub, priv, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return "", fmt.Errorf("generate a key: %w", err)
	}
	var text []byte
	if password == "" {
		text, err = priv.MarshalText()
	} else {
		text, err = minisign.EncryptKey(password, priv)
	}
	if err != nil {
		return "", fmt.Errorf("generate a key: %w", err)
	}
	if err := writeNew(private, text, 0o600); err != nil {
		return "", err
	}
	if text, err = pub.MarshalText(); err != nil {
		return "", fmt.Errorf("generate a key: %w", err)
	}
	return pub.String(), writeNew(public, append(text, '\n'), 0o644)
}

func writeNew(name string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return withHint(fmt.Errorf("write a key: expected no file %s, found one: keys are never overwritten", name),
			"choose another name: tasker plugin keygen FILE")
	}
	if err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// ReadKey reads a private key; password is asked for when it is encrypted.
func ReadKey(name string, password func() (string, error)) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	text, err := os.ReadFile(name)
	if err != nil {
		return key, fmt.Errorf("read the key: %w", err)
	}
	if !minisign.IsEncrypted(text) {
		if err := key.UnmarshalText(text); err != nil {
			return key, fmt.Errorf("key %s: %w", name, err)
		}
		return key, nil
	}
	word, err := password()
	if err != nil {
		return key, err
	}
	if key, err = minisign.DecryptKey(word, text); err != nil {
		return key, fmt.Errorf("key %s: %w", name, err)
	}
	return key, nil
}

// ReadSigner returns the public key that a text is or names: the key itself, a file that
// holds it, or [Unsigned].
func ReadSigner(text string) (string, error) {
	if text == "" || text == Unsigned {
		return text, nil
	}
	if key, err := parseKey(text); err == nil {
		return key.String(), nil
	}
	key, err := minisign.PublicKeyFromFile(text)
	if err != nil {
		return "", fmt.Errorf("signer %q is neither a minisign public key nor a file with one: %w", text, err)
	}
	return key.String(), nil
}

func parseKey(text string) (minisign.PublicKey, error) {
	var key minisign.PublicKey
	if err := key.UnmarshalText([]byte(text)); err != nil {
		return key, fmt.Errorf("want a minisign public key: %w", err)
	}
	if key.String() != text {
		return key, errors.New("want a minisign public key on one line")
	}
	return key, nil
}

// signFile returns the signature of a file's content.
func signFile(file io.Reader, key minisign.PrivateKey, comment string) ([]byte, error) {
	r := minisign.NewReader(file)
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return r.SignWithComments(key, comment, "signature of a tasker plugin"), nil
}

// signerName is a signer as messages have it.
func signerName(signer string) string {
	if signer == "" || signer == Unsigned {
		return "no signer"
	}
	return signer
}
