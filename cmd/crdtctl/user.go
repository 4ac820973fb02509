package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/internal/keys"
)

func userCommand() *cli.Command {
	return &cli.Command{
		Name:  "user",
		Usage: "say who may use the cluster, and for what",
		Description: `Users prove who they are by keys, of which members know the public part only, and
may do what the cluster's table says. Its changes count within a second. root, who
has the cluster's secret, stands in no table and may do everything.

   crdtctl user set web --role write --prefix cart:
   crdtctl user key web web.key          makes a key, and lets it in
   crdtctl --key web.key --ca ca.crt counter incr cart:1

To change a key without a pause: make another one, have it used everywhere, and
revoke the first.`,
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list all users", Before: takes(0, 0),
				Action: reading(func(c *cli.Context) error {
					return connected(c, func(ctx context.Context, cl *client.Client) error {
						users, err := cl.Users(ctx)
						if err != nil {
							return err
						}
						return answerUsers(c, users)
					})
				}),
			},
			{
				Name: "set", ArgsUsage: "NAME", Usage: "make a user, or change what one may do", Before: takes(1, 1),
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "role", Usage: "`ROLE` of the user: read, write or admin; required of a new one"},
					&cli.StringSliceFlag{Name: "prefix", KeepSpace: true, Usage: "only keys that begin with `PREFIX`, in place of those before; \"\" is all (repeatable)"},
				},
				Action: changeUser(func(c *cli.Context, u *client.User, known bool) error {
					if !known && !c.IsSet("role") {
						return usagef("there is no user %q; to make one, say --role", u.Name)
					}
					if c.IsSet("role") {
						u.Role = client.Role(c.String("role"))
					}
					if c.IsSet("prefix") {
						u.Prefixes = slices.DeleteFunc(c.StringSlice("prefix"), func(p string) bool { return p == "" })
					}
					return nil
				}),
			},
			{
				Name: "key", ArgsUsage: "NAME FILE", Usage: "make a new key of a user in FILE, - for stdout, and let it in", Before: takes(2, 2),
				Action: addKey,
			},
			{
				Name: "revoke", ArgsUsage: "NAME KEY", Usage: "take a public key from a user, as user list shows it", Before: takes(2, 2),
				Action: changeUser(func(c *cli.Context, u *client.User, known bool) error {
					key := c.Args().Get(1)
					if i := slices.Index(u.Keys, key); i >= 0 {
						u.Keys = slices.Delete(slices.Clone(u.Keys), i, i+1)
						return nil
					}
					return usagef("%q is no key of the user %s; see crdtctl user list", key, u.Name)
				}),
			},
			{
				Name: "remove", ArgsUsage: "NAME", Usage: "take a user out of the table", Before: takes(1, 1),
				Action: func(c *cli.Context) error {
					return connected(c, func(ctx context.Context, cl *client.Client) error {
						users, err := cl.RemoveUser(ctx, c.Args().First())
						if err != nil {
							return err
						}
						return answerUsers(c, users)
					})
				},
			},
		},
	}
}

// changeUser returns a command that changes the user named first.
func changeUser(change func(c *cli.Context, u *client.User, known bool) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		return withUser(c, func(ctx context.Context, cl *client.Client, u client.User, was *client.User) error {
			if err := change(c, &u, was != nil); err != nil {
				return err
			}
			users, err := cl.PutUser(ctx, u, was)
			if err != nil {
				return err
			}
			return answerUsers(c, users)
		})
	}
}

// userTries bounds how often a change of a user is tried again, because another
// one came before it.
const userTries = 5

// withUser looks up the user named first, and has it changed; was is nil if there
// is none.
func withUser(c *cli.Context, do func(ctx context.Context, cl *client.Client, u client.User, was *client.User) error) error {
	return connected(c, func(ctx context.Context, cl *client.Client) error {
		for try := 1; ; try++ {
			users, err := cl.Users(ctx)
			if err != nil {
				return err
			}
			u, was := client.User{Name: c.Args().First()}, (*client.User)(nil)
			if i := slices.IndexFunc(users, func(o client.User) bool { return o.Name == u.Name }); i >= 0 {
				u, was = users[i], &users[i]
			}
			if err = do(ctx, cl, u, was); !errors.Is(err, client.ErrBusy) || try == userTries {
				return err
			}
		}
	})
}

// addKey makes a key, first where it is to be used: one that is let in and that
// nobody has would be of no use.
func addKey(c *cli.Context) (err error) {
	name, path := c.Args().Get(0), c.Args().Get(1)
	k, err := keys.New(name)
	if err != nil {
		return err
	}
	made := false
	err = withUser(c, func(ctx context.Context, cl *client.Client, u client.User, was *client.User) error {
		if was == nil {
			return usagef("there is no user %q; make it first, with crdtctl user set", name)
		}
		if path != "-" && !made {
			if err := k.Write(path); err != nil {
				return usageError{err}
			}
			made = true
		}
		u.Keys = append(slices.Clone(u.Keys), k.Public())
		users, err := cl.PutUser(ctx, u, was)
		switch {
		case err != nil:
			return err
		case path == "-":
			_, err := c.App.Writer.Write(k.File())
			return err
		}
		return answerUsers(c, users)
	})
	if err != nil && made && !isUnknown(err) {
		_ = os.Remove(path) // nobody lets it in
	}
	return err
}

func answerUsers(c *cli.Context, users []client.User) error {
	shown := usersAnswer{Users: []userView{}}
	for _, u := range users {
		shown.Users = append(shown.Users, userView{u.Name, string(u.Role), append([]string{}, u.Prefixes...), append([]string{}, u.Keys...)})
	}
	return answer(c, shown, shown.print)
}

type usersAnswer struct {
	Users []userView `json:"users"`
}

type userView struct {
	Name     string   `json:"name"`
	Role     string   `json:"role"`
	Prefixes []string `json:"prefixes"` // none: all keys
	Keys     []string `json:"keys"`
}

func (s usersAnswer) print(w io.Writer) {
	fmt.Fprintln(w, "USER\tROLE\tPREFIXES\tKEYS")
	for _, u := range s.Users {
		prefixes := "all"
		if len(u.Prefixes) > 0 {
			prefixes = strings.Join(apart(u.Prefixes), " ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Name, u.Role, prefixes, strings.Join(u.Keys, " "))
	}
}

// apart quotes the prefixes that would not be told apart with a space between.
func apart(prefixes []string) (shown []string) {
	for _, p := range prefixes {
		if strings.Contains(p, " ") {
			p = strconv.Quote(p)
		}
		shown = append(shown, p)
	}
	return shown
}
