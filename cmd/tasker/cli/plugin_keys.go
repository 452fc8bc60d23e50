package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tasker-engine/tasker/host"
)

// passwordVariable holds the password of a signing key where nobody can be asked.
const passwordVariable = "TASKER_SIGNING_PASSWORD"

func (a *app) pluginKeygenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a key that signs packages",
		Long: `Make a key pair in minisign's format: the private key in FILE, the public key in FILE.pub,
which is also printed. Neither file may exist. The private key is encrypted with a password
that is asked for on a terminal; elsewhere it is TASKER_SIGNING_PASSWORD. An empty one leaves
the key as it is.

--json prints {"private", "public", "key"}.`,
		Example: `  tasker plugin keygen tasker.key
  tasker plugin pack dist --sign tasker.key`,
		Args: args(1, 1),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(_ *cobra.Command, given []string) error {
		word, err := a.password("password for " + given[0] + " (empty = none): ")
		if err != nil {
			return err
		}
		key, err := host.GenerateSigningKey(given[0], given[0]+".pub", word)
		if err != nil {
			return err
		}
		if *asJSON {
			return a.printJSON(struct {
				Private string `json:"private"`
				Public  string `json:"public"`
				Key     string `json:"key"`
			}{given[0], given[0] + ".pub", key})
		}
		a.out.printf("%s\n", key)
		if word == "" {
			a.note("%s is not encrypted: whoever can read it can sign", given[0])
		}
		return nil
	}
	return c
}

// password asks for a password on a terminal, unseen; elsewhere it is that of the
// environment.
func (a *app) password(prompt string) (string, error) {
	if word, ok := a.lookup(passwordVariable); ok {
		return word, nil
	}
	f, ok := a.stdin.(*os.File)
	if !ok || !isTerminal(f) {
		return "", nil
	}
	_, _ = fmt.Fprint(a.stderr, prompt) // the answer decides, not the question
	word, err := term.ReadPassword(int(f.Fd()))
	_, _ = fmt.Fprintln(a.stderr) // as above
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(word), nil
}

// ask1 asks one question of the person at the terminal; everything but a yes is
// [errDeclined].
func (a *app) ask1(question string) error {
	_, _ = fmt.Fprintf(a.stderr, "%s [y/N] ", question) // the answer decides, not the question
	text, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && text == "" {
		return errDeclined
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "y", "yes":
		return nil
	default:
		return errDeclined
	}
}
