package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/atolldb/atoll/client"
	"github.com/atolldb/atoll/server"
)

// run starts a member for the examples and returns its address.
func run() (address string, stop func()) {
	dir, err := os.MkdirTemp("", "atoll-example")
	if err != nil {
		log.Fatal(err)
	}
	member, err := server.Start(context.Background(), server.Config{
		Region: "eu", Data: dir, Listen: server.Listen{Client: "127.0.0.1:0"},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	return member.Addresses().Client, func() {
		if err := errors.Join(member.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

func Example() {
	address, stop := run() // or where crdtd listens
	defer stop()
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{Servers: []string{address}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	likes := c.Counter("likes:42")
	if _, err := likes.Add(ctx, 3); err != nil {
		log.Fatal(err)
	}
	n, err := likes.Add(ctx, -1)
	fmt.Println(n, err)

	cart := c.Set("{user:7}:cart")
	added, err := cart.Add(ctx, "pear", "fig", "pear")
	fmt.Println(added, err)

	name := c.Register("{user:7}:name")
	if err := name.Set(ctx, []byte("Ada")); err != nil {
		log.Fatal(err)
	}
	value, err := name.Get(ctx)
	fmt.Printf("%s %v\n", value, err)
	// Output:
	// 2 <nil>
	// 2 <nil>
	// Ada <nil>
}

func ExampleSet_Members() {
	address, stop := run()
	defer stop()
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{Servers: []string{address}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	fruit := c.Set("fruit")
	if _, err := fruit.Add(ctx, "apple", "fig", "pear"); err != nil {
		log.Fatal(err)
	}
	for element, err := range fruit.Members(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(element)
	}
	// Unordered output:
	// apple
	// fig
	// pear
}

// Errors are matched by what they mean for the caller.
func ExampleRegister_Get() {
	address, stop := run()
	defer stop()
	ctx := context.Background()
	c, err := client.Connect(ctx, client.Options{Servers: []string{address}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	switch value, err := c.Register("motd").Get(ctx); {
	case errors.Is(err, client.ErrNotFound):
		fmt.Println("nothing yet")
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Printf("%s\n", value)
	}
	// Output: nothing yet
}
