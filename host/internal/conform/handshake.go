package conform

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// shake is what a plugin says in its handshake line.
type shake struct {
	core     int    // the version of the line itself
	protocol int    // of the wire
	network  string // unix or tcp
	address  string
	kind     string // grpc
	cert     *x509.Certificate
}

// errNoHandshake says that a line is no handshake.
var errNoHandshake = errors.New(`want "1|PROTOCOL|unix|PATH|grpc|CERTIFICATE"`)

// parseShake reads a handshake line without its line end.
func parseShake(line string) (shake, error) {
	parts := strings.Split(line, "|")
	if len(parts) < 5 {
		return shake{}, fmt.Errorf("the line %q: %w", cut(line), errNoHandshake)
	}
	core, err := strconv.Atoi(parts[0])
	if err != nil || core != 1 {
		return shake{}, fmt.Errorf("the line %q begins with %q: %w", cut(line), parts[0], errNoHandshake)
	}
	protocol, err := strconv.Atoi(parts[1])
	if err != nil {
		return shake{}, fmt.Errorf("the line %q: protocol %q is no number: %w", cut(line), parts[1], errNoHandshake)
	}
	s := shake{core: core, protocol: protocol, network: parts[2], address: parts[3], kind: parts[4]}
	if len(parts) > 5 && parts[5] != "" {
		if s.cert, err = parseCert(parts[5]); err != nil {
			return shake{}, err
		}
	}
	return s, nil
}

func parseCert(text string) (*x509.Certificate, error) {
	der, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("the certificate is no base64 without padding: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate is no DER: %w", err)
	}
	return cert, nil
}

// identity is a self-signed key pair, of the kind that hosts have.
type identity struct {
	pem string
	key tls.Certificate
}

// newIdentity makes a key pair on P-521, as hosts do: a TLS library that only has the
// smaller curves is found out.
func newIdentity() (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: serverName, Organization: []string{"Tasker"}},
		DNSNames:              []string{serverName},
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		SerialNumber:          serial,
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &identity{
		pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		key: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}, nil
}

// serverName is the name that the certificates of both sides have.
const serverName = "localhost"

// client is the TLS configuration of a host that has the identity, and trusts the plugin's
// certificate alone. A nil identity shows no certificate.
func (id *identity) client(plugin *x509.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(plugin)
	c := &tls.Config{RootCAs: pool, ServerName: serverName, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	if id != nil {
		c.Certificates = []tls.Certificate{id.key}
	}
	return c
}
