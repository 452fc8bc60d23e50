package httpapi

import (
	"encoding/base64"
	"net/http"
	"net/textproto"
	"regexp"
	"strings"
)

// hidden stands in for what nobody may see.
const hidden = "***"

// secrets knows which headers are secret.
type secrets struct {
	telling *regexp.Regexp
	names   map[string]bool // canonical
}

func newSecrets(names []string) *secrets {
	s := &secrets{
		telling: regexp.MustCompile(`(?i)auth|cookie|credential|passw|secret|session|signature|token|api-?key|access-?key`),
		names:   make(map[string]bool),
	}
	for _, name := range canonical(names) {
		s.names[name] = true
	}
	return s
}

// is reports whether a header of that canonical name is secret.
func (s *secrets) is(name string) bool { return s.names[name] || s.telling.MatchString(name) }

// header returns headers as they may be logged.
func (s *secrets) header(h http.Header) map[string]string {
	out := make(map[string]string, len(h))
	for name, values := range h {
		out[name] = strings.Join(values, ", ")
		if s.is(name) {
			out[name] = hidden
		}
	}
	return out
}

// redactor takes what is secret of a request out of a text.
func (s *secrets) redactor(req *http.Request) *strings.Replacer {
	var pairs []string
	hide := func(value string) {
		if value = strings.TrimSpace(value); len(value) > 1 {
			pairs = append(pairs, value, hidden)
		}
	}
	for name, values := range req.Header {
		if !s.is(name) {
			continue
		}
		for _, v := range values {
			hide(v)
			scheme, credentials, _ := strings.Cut(v, " ")
			hide(credentials)
			if strings.EqualFold(scheme, "Basic") {
				hide(password(credentials))
			}
		}
	}
	for _, cookie := range req.Cookies() {
		hide(cookie.Value)
	}
	if pass, ok := req.URL.User.Password(); ok {
		hide(pass)
	}
	return strings.NewReplacer(pairs...)
}

// password is the password in the credentials of Basic, "" when there is none.
func password(credentials string) string {
	pair, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return ""
	}
	_, pass, _ := strings.Cut(string(pair), ":")
	return pass
}

// canonical returns the names of headers as they are in an [http.Header].
func canonical(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = textproto.CanonicalMIMEHeaderKey(name)
	}
	return out
}
