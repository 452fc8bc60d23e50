package httpapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS says in files whom an https API is trusted by, and trusts. It fits into the configuration of a plugin.
type TLS struct {
	CAFile     string `json:"ca_file,omitempty"     jsonschema_description:"Certificates, PEM, of which one must have signed the API's. Default the system's."`
	CertFile   string `json:"cert_file,omitempty"   jsonschema_description:"The plugin's own certificate, PEM."`
	KeyFile    string `json:"key_file,omitempty"    jsonschema_description:"The key of that certificate, PEM."`
	ServerName string `json:"server_name,omitempty" jsonschema_description:"The name that the API's certificate must have. Default the URL's."`
}

// Config reads the files. Its errors start with a JSON pointer to what is wrong.
func (t TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("/ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("/ca_file: there is no certificate in %s", t.CAFile)
		}
	}
	switch {
	case t.CertFile == "" && t.KeyFile == "":
		return c, nil
	case t.CertFile == "" || t.KeyFile == "":
		return nil, errors.New("/cert_file: a certificate and its key belong together")
	}
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("/cert_file: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
