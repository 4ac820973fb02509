package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/internal/keys"
	"github.com/atolldb/atoll/server"
)

func certsCommand() *cli.Command {
	return &cli.Command{
		Name: "certs", ArgsUsage: "DIR",
		Usage: "make what members of a locked cluster need: certificates, a secret, the first key",
		Description: `In DIR it makes what is not there yet, and a new certificate each time:

   ca.crt, ca.key          the authority that vouches for members; no member needs
                           ca.key, so keep it elsewhere
   NAME.crt, NAME.key      a member's certificate; all may have the same one, with
                           the hosts of all
   secret                  the cluster's secret: who has it can do everything
   root.key                the key of root, the first user, which follows from it
   http.token              what who asks a member by HTTP must have, as well

   crdtd --tls-ca DIR/ca.crt --tls-cert DIR/member.crt --tls-key DIR/member.key \
         --secret-file DIR/secret ...
   crdtctl --ca DIR/ca.crt --key DIR/root.key user set web --role write

A member that runs takes a new certificate by itself. Without --host it is for the
hosts of the one before it.`,
		Before: takes(1, 1),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "host", Usage: "name or address by which clients reach the member: `HOST` (repeatable)", DefaultText: "those of NAME.crt, or else localhost, 127.0.0.1, ::1"},
			&cli.StringFlag{Name: "name", Value: "member", Usage: "`NAME` of the certificate's files"},
			&cli.IntFlag{Name: "days", Value: 365, Usage: "for how many `N` days the certificate holds"},
		},
		Action: reading(makeCerts),
	}
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func makeCerts(c *cli.Context) error {
	dir, name, days := c.Args().First(), c.String("name"), c.Int("days")
	switch {
	case !fileName.MatchString(name) || name == "ca" || name == keys.Root:
		return usagef("--name %q; it takes 1 to 64 letters, digits, - or _, and neither ca nor root", name)
	case days < 1 || days > 3650:
		return usagef("--days %d; it takes 1 to 3650", days)
	}
	hosts, err := hostsOf(c, filepath.Join(dir, name+".crt"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	now := time.Now()
	if _, err := keys.Certify(dir, name, hosts, days, now); err != nil {
		return err
	}
	if err := makeSecrets(dir); err != nil {
		return err
	}
	made := certificates{Dir: dir, Name: name, Hosts: hosts, Until: now.AddDate(0, 0, days).UTC().Format(time.DateOnly)}
	return answer(c, made, made.print)
}

// hostsOf returns those that a certificate is to be for: as the command line says,
// or as the one that is there.
func hostsOf(c *cli.Context, certificate string) ([]string, error) {
	if hosts := c.StringSlice("host"); len(hosts) > 0 {
		for _, host := range hosts {
			if host == "" || strings.ContainsAny(host, ", /") {
				return nil, usagef("--host %q; it takes one name or address, and --host again for another", host)
			}
		}
		return hosts, nil
	}
	hosts, err := keys.Hosts(certificate)
	if errors.Is(err, fs.ErrNotExist) {
		return []string{"localhost", "127.0.0.1", "::1"}, nil
	}
	return hosts, err
}

// makeSecrets makes the secret, and what follows from it, as far as it is not
// there.
func makeSecrets(dir string) error {
	path := filepath.Join(dir, "secret")
	secret, err := keys.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret = keys.NewSecret()
		err = keys.Create(path, 0o600, []byte(secret+"\n"))
	}
	if err != nil {
		return err
	}
	root, err := secret.Key(keys.Root)
	if err != nil {
		return err
	}
	token, err := secret.Password(server.HTTPToken)
	if err != nil {
		return err
	}
	for _, err := range []error{
		root.Write(filepath.Join(dir, "root.key")), keys.Create(filepath.Join(dir, "http.token"), 0o600, []byte(token)),
	} {
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

type certificates struct {
	Dir   string   `json:"dir"`
	Name  string   `json:"name"`
	Hosts []string `json:"hosts"`
	Until string   `json:"until"`
}

func (made certificates) print(w io.Writer) {
	fmt.Fprintf(w, "%s.crt in %s holds until %s, for %v\n", made.Name, made.Dir, made.Until, made.Hosts)
}
