package api

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Access is what a caller of the control API may do.
type Access string

// The kinds of access.
const (
	AccessRead  Access = "read"  // ask
	AccessWrite Access = "write" // ask and change
)

// ErrDenied is returned for a call that the caller's token does not allow.
var ErrDenied = errors.New("access denied")

// tokenKey is the metadata key of the token that goes with every call.
const tokenKey = "tasker-token"

// newToken returns the token of a new host: whoever can read it in the record, which is
// private to the user, may do everything. It ends with the host.
func newToken() string { return rand.Text() }

// Token returns a token for a program that a person starts by name, with no more than the
// access given. It is derived from the host's own, which it does not give away, and ends
// with the host.
func (r Record) Token(program string, access Access) string {
	claim := string(access) + ":" + program
	return claim + ":" + seal(r.Secret, claim)
}

func seal(secret, claim string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write([]byte(claim)) // it never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// readToken returns what a token allows and whose it is; an empty program is the owner.
// ok is false for a token of another host, or none.
func readToken(secret, token string) (access Access, program string, ok bool) {
	if same(token, secret) {
		return AccessWrite, "", true
	}
	i := strings.LastIndexByte(token, ':')
	if i < 0 || !same(token[i+1:], seal(secret, token[:i])) {
		return "", "", false
	}
	kind, program, _ := strings.Cut(token[:i], ":")
	return Access(kind), program, true
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// readers are the verbs of the methods that change nothing.
func readers() []string { return []string{"Get", "List", "Watch", "Tail", "Find"} }

// reads reports whether a method, as gRPC names it, changes nothing.
func reads(method string) bool {
	name := method[strings.LastIndexByte(method, '/')+1:]
	for _, verb := range readers() {
		if strings.HasPrefix(name, verb) {
			return true
		}
	}
	return false
}

// guard checks the token of every call.
type guard struct{ secret string }

func (g guard) check(ctx context.Context, method string) error {
	md, _ := metadata.FromIncomingContext(ctx)
	tokens := md.Get(tokenKey)
	if len(tokens) != 1 {
		return toWire(&deniedError{text: "the call has no token of this host"})
	}
	access, program, ok := readToken(g.secret, tokens[0])
	switch {
	case !ok:
		return toWire(&deniedError{text: "the token is not of this host: it may have been restarted"})
	case access != AccessWrite && !reads(method):
		return toWire(&deniedError{
			text: fmt.Sprintf("tasker %s may read only, and %s changes something", program, method[strings.LastIndexByte(method, '/')+1:]),
			hint: fmt.Sprintf("to allow it, put this into tasker.yaml: commands: {%s: {access: write}}", program),
		})
	}
	return nil
}

func (g guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := g.check(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (g guard) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := g.check(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return handler(srv, ss)
}

// deniedError says what is not allowed and how to allow it.
type deniedError struct{ text, hint string }

func (e *deniedError) Error() string { return ErrDenied.Error() + ": " + e.text }
func (e *deniedError) Unwrap() error { return ErrDenied }
func (e *deniedError) Hint() string  { return e.hint }

// bearer sends a token with every call of a client.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{tokenKey: string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: the socket lies in a
// directory that is private to the user.
func (b bearer) RequireTransportSecurity() bool { return false }
