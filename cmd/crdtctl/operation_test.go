package main

import (
	"context"
	"strings"
	"testing"

	"github.com/atolldb/atoll/client"
	pb "github.com/atolldb/atoll/proto"
	"github.com/atolldb/atoll/server"
	"google.golang.org/protobuf/proto"
)

// A script that repeats an increment under its id counts once.
func TestIncrementOnce(t *testing.T) {
	t.Setenv("ATOLL_SERVER", start(t, server.Config{Region: "eu"}).Addresses().Client)
	id := strings.TrimSpace(crdtctl(t, "", "counter", "id").stdout)
	for range 3 {
		if o := crdtctl(t, "", "counter", "incr", "k", "5", "--id", id); o.stdout != "5\n" || o.code != exitOK {
			t.Errorf("%+v", o)
		}
	}
	if o := crdtctl(t, "", "counter", "incr", "k"); o.stdout != "6\n" {
		t.Errorf("without an id: %+v", o)
	}
	crdtctl(t, "", "counter", "incr", "k", "--id", "x").wantLine(t, exitUsage, `the operation id "x"; it has 32 hexadecimal digits; crdtctl counter id prints one`)
	crdtctl(t, "", "counter", "incr", "k", "--id", strings.Repeat("0", 32)).wantLine(t, exitUnknown, "look before you count it under another id")
}

// Whoever is left without an answer is told the id to go on with.
func TestIncrementTellsItsID(t *testing.T) {
	var id string
	address := member(t, func(context.Context) ([]byte, error) {
		return proto.Marshal(&pb.Answer{Error: &pb.Error{Code: pb.Error_UNAVAILABLE, Text: "the disk failed"}})
	})
	o := crdtctl(t, "", "--server", address, "counter", "incr", "k")
	if _, after, ok := strings.Cut(o.stderr, "--id "); ok {
		id, _, _ = strings.Cut(after, " ")
	}
	if _, err := client.ParseOperationID(id); err != nil || o.code != exitUnknown {
		t.Errorf("%+v: %v", o, err)
	}
}
