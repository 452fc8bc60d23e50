package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// From these lengths on chance does not find what is not there.
const (
	minEncoded = 8  // bytes of a secret that is looked for in base64 and hexadecimal digits
	minLine    = 16 // bytes of a line of a secret that is looked for by itself
)

// formsOf returns the texts that a secret may appear as.
func formsOf(secret string) []string {
	var forms []string
	whole := []string{secret}
	if with := unescaped(secret); with != secret {
		whole = append(whole, with)
	}
	for _, s := range whole {
		forms = append(forms, written(s)...)
		if len(s) >= minEncoded {
			forms = append(forms, encoded(s)...)
		}
		for line := range strings.SplitSeq(s, "\n") {
			line = strings.TrimSpace(line)
			if line != s && len(line) >= minLine && !strings.HasPrefix(line, "-----") { // what frames a key in PEM is no secret
				forms = append(forms, written(line)...)
			}
		}
	}
	return forms
}

// written are the ways to write a text in texts.
func written(s string) []string {
	forms := []string{s, url.QueryEscape(s), url.PathEscape(s)}
	for _, html := range []bool{true, false} {
		var doc bytes.Buffer
		e := json.NewEncoder(&doc)
		e.SetEscapeHTML(html)
		if e.Encode(s) == nil {
			text := strings.TrimSuffix(doc.String(), "\n")
			forms = append(forms, text[1:len(text)-1])
		}
	}
	return forms
}

// unescaped resolves the escapes of a text that has some: a key in a variable of the environment is often written with
// \n, and programs make lines of it.
func unescaped(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var with string
	if json.Unmarshal([]byte(`"`+strings.ReplaceAll(s, "\n", `\n`)+`"`), &with) != nil {
		return s
	}
	return with
}

// encoded are the ways to write the bytes of a text.
func encoded(s string) []string {
	digits := hex.EncodeToString([]byte(s))
	forms := []string{digits, strings.ToUpper(digits)}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		forms = append(forms, e.EncodeToString([]byte(s)), e.WithPadding(base64.NoPadding).EncodeToString([]byte(s)))
		// Three bytes are four digits, so that a secret inside of a longer text has one of three beginnings. The digits at
		// its ends that it shares with its neighbours are left: they hold less than a byte of it each.
		for before := range 3 {
			all := e.WithPadding(base64.NoPadding).EncodeToString(append(make([]byte, before), s...))
			forms = append(forms, all[(before*8+5)/6:(before+len(s))*8/6])
		}
	}
	return forms
}
