package nats

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// lastWords is a NATS server that answers one request of each connection with
// "done", and closes it.
func lastWords(t *testing.T) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answerOnce(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

func answerOnce(conn net.Conn) {
	fmt.Fprint(conn, `INFO {"server_id":"x","version":"2.10.0","proto":1,"headers":true,"max_payload":1048576}`+"\r\n")
	subscription := "" // of the inbox
	for in := bufio.NewReader(conn); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch words := strings.Fields(line); {
		case len(words) == 0:
		case words[0] == "PING":
			fmt.Fprint(conn, "PONG\r\n")
		case words[0] == "SUB":
			subscription = words[len(words)-1]
		case words[0] == "PUB" && len(words) == 4:
			fmt.Fprintf(conn, "MSG %s %s 4\r\ndone\r\n", words[2], subscription)
			return
		}
	}
}

// TestLastAnswer: an answer that came before the connection broke counts, if
// only just.
func TestLastAnswer(t *testing.T) {
	address := lastWords(t)
	for range 200 {
		c, err := Dial(t.Context(), []string{address}, DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Request(t.Context(), "kv.eu.0", nil)
		if err != nil || string(answer) != "done" {
			t.Fatalf("%q, %v", answer, err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
