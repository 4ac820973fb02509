package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/server"
)

// A load ends with what it wrote, all of which is there.
func TestLoad(t *testing.T) {
	t.Setenv("ATOLL_SERVER", start(t, server.Config{Region: "eu"}).Addresses().Client)
	for range 2 { // the second time on what the first has left
		o := crdtctl(t, "", "load", "--name", "n", "--rate", "1000", "--duration", "2s", "--json")
		var a loadAnswer
		if err := json.Unmarshal([]byte(o.stdout), &a); err != nil || o.code != exitOK || a.Acknowledged < 10 || a.Failed+a.Unknown > 0 || len(a.Missing) > 0 {
			t.Fatalf("%+v, %v", o, err)
		}
	}
	crdtctl(t, "", "load", "--rate", "0").wantLine(t, exitUsage, "--rate 0; it takes 1 to 10000")
	crdtctl(t, "", "load", "--clients", "65").wantLine(t, exitUsage, "--clients 65; it takes 1 to 64")
	crdtctl(t, "", "load", "--duration", "-1s").wantLine(t, exitUsage, "--duration -1s; it takes more than 0")
}

// A load finds what was acknowledged and is gone.
func TestLoadFindsWhatIsMissing(t *testing.T) {
	member := start(t, server.Config{Region: "eu"})
	c, err := client.Connect(t.Context(), client.Options{Servers: []string{member.Addresses().Client}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := &loadWriter{set: c.Set("s"), register: c.Register("r")}
	expect := func(what string, want ...string) {
		t.Helper()
		if got, err := w.check(t.Context()); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", what, got, err, want)
		}
	}
	expect("nothing written")
	w.elements[7] = true
	w.kept, w.written = 3, 5
	expect("two writes gone", "element 7 of a set", `value 3 of a register, which is ""`)
	if _, err := c.Set("s").Add(t.Context(), "7", "8"); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string][]string{"2": {`value 3 of a register, which is "2"`}, "3": nil, "5": nil, "6": {`value 3 of a register, which is "6"`}} {
		if err := c.Register("r").Set(t.Context(), []byte(value)); err != nil {
			t.Fatal(err)
		}
		expect("a register at "+value, want...)
	}
}
