package memnet_test

import (
	"context"
	"fmt"
	"time"

	"github.com/atolldb/atoll/transport"
	"github.com/atolldb/atoll/transport/memnet"
)

func Example() {
	network, err := memnet.New(memnet.Options{
		Seed: 42,
		Link: memnet.Link{Delay: 2 * time.Millisecond},
	})
	if err != nil {
		panic(err)
	}
	eu, _ := network.Join("eu", "eu-1")
	us, _ := network.Join("us", "us-1")
	defer eu.Close()
	defer us.Close()

	_, _ = us.Serve(transport.Sync("us-1"), "", func(context.Context, transport.Message) ([]byte, error) {
		return []byte("all of it"), nil
	})
	answer, err := eu.Request(context.Background(), transport.Sync("us-1"), []byte("what have you?"))
	fmt.Printf("%s %v\n", answer, err)

	network.CutRegion("us")
	_, err = eu.Request(context.Background(), transport.Sync("us-1"), []byte("and now?"))
	fmt.Println(err)
	fmt.Println(network.Traffic("sync.").CrossedBytes, "bytes crossed")
	// Output:
	// all of it <nil>
	// request "sync.us-1": transport: nobody serves this subject
	// 23 bytes crossed
}
