package nats_test

import (
	"context"
	"fmt"
	"time"

	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/nats"
)

// A member serves a shard; a client asks whoever owns it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	member, err := nats.Start(ctx, nats.Options{Region: "eu", Name: "eu-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer member.Close()
	_, err = member.Serve(transport.AllRequests("eu"), transport.OwnersGroup, func(_ context.Context, m transport.Message) ([]byte, error) {
		return []byte(m.Subject + " has " + string(m.Data)), nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	client, err := nats.Dial(ctx, []string{member.Addresses().Client}, nats.DialOptions{Name: "example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	answer, err := client.Request(ctx, transport.Requests("eu", 7, transport.Trusted), []byte("visits"))
	fmt.Println(string(answer), err)
	// Output: kv.eu.7.- has visits <nil>
}
