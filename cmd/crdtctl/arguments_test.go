package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestArrange(t *testing.T) {
	for line, want := range map[string]string{
		"":                                       "",
		"--json":                                 "--json",
		"counter get k":                          "counter get -- k",
		"counter get k --json":                   "--json counter get -- k",
		"counter --json get k":                   "--json counter get -- k",
		"counter get --server a:1 k --server=b":  "--server a:1 --server=b counter get -- k",
		"register get k --siblings --json":       "--json register get --siblings -- k",
		"register set k - --file -x":             "register set --file -x -- k -",
		"counter incr k -5":                      "counter incr -- k -5",
		"counter incr k -.5":                     "counter incr -- k -.5",
		"set add k -- --json -- x":               "set add -- k --json -- x",
		"set add counter set":                    "set add -- counter set",
		"del help get":                           "del -- help get",
		"counter get k --json=false":             "--json=false counter get -- k",
		"help":                                   "--help",
		"help set add":                           "set add --help --",
		"set help":                               "set --help --",
		"set add k -h":                           "set add --help --",
		"set add k --generate-bash-completion x": "error",
		"set":                                    "error",
		"set ad k":                               "error",
		"set add k --jso":                        "error",
		"counter get k --server":                 "error",
		"--siblings register get k":              "error", // not known yet
	} {
		args := append([]string{"crdtctl"}, strings.Fields(line)...)
		got, err := arrange(app(nil, io.Discard, io.Discard), args)
		if err != nil {
			got = []string{"crdtctl", "error"}
		}
		if !slices.Equal(got, append([]string{"crdtctl"}, strings.Fields(want)...)) {
			t.Errorf("%q is arranged as %q, %v; want %q", line, got, err, want)
		}
	}
}

// A flag the zero value of which stands for something else says what it is.
func TestDefaultsAreSaid(t *testing.T) {
	var check func(name string, flags []cli.Flag, commands []*cli.Command)
	check = func(name string, flags []cli.Flag, commands []*cli.Command) {
		for _, f := range flags {
			text := f.String()
			if silent := strings.Contains(text, "default: 0") && !strings.Contains(text, " 0: "); silent || strings.Count(text, "default:") > 1 {
				t.Errorf("%s: %s", name, text)
			}
		}
		for _, c := range commands {
			check(name+" "+c.Name, c.Flags, c.Subcommands)
		}
	}
	a := app(nil, io.Discard, io.Discard)
	check(a.Name, a.Flags, a.Commands)
}

// Members are named by flags, or all in one variable.
func TestServers(t *testing.T) {
	for _, test := range []struct {
		variable string
		flags    []string
		want     []string
	}{
		{"", nil, []string{defaultServer}},
		{"a:1, b:2", nil, []string{"a:1", "b:2"}},
		{"a:1", []string{"--server", "b:2", "--server", "nats://u:p,w@c:3"}, []string{"b:2", "nats://u:p,w@c:3"}},
	} {
		t.Setenv("ATOLL_SERVER", test.variable)
		a := app(nil, io.Discard, io.Discard)
		a.Action = func(c *cli.Context) error {
			if got := c.StringSlice("server"); !slices.Equal(got, test.want) {
				t.Errorf("%q and %q are %q; want %q", test.variable, test.flags, got, test.want)
			}
			return nil
		}
		if err := a.RunContext(t.Context(), append([]string{"crdtctl"}, test.flags...)); err != nil {
			t.Error(err)
		}
	}
}

func TestSuggestion(t *testing.T) {
	known := []string{"counter", "set", "status", "verify", "h"}
	for word, want := range map[string]string{
		"conter": "counter", "countre": "counter", "ste": "set", "statsu": "status", "vrfy": "verify",
		"x": "", "nonsense": "", "": "", "rr": "",
	} {
		if want != "" {
			want = "; you may mean -" + want
		}
		if got := suggestion(word, "-", known); got != want {
			t.Errorf("%q: %q; want %q", word, got, want)
		}
	}
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"ab", "ba", 2}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("distance of %q and %q is %d; want %d", test.a, test.b, got, test.want)
		}
	}
}
