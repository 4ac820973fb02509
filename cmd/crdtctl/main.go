package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	code := run(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run does what a command line says and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := app(stdin, stdout, stderr)
	if words, ok := toComplete(args); ok {
		return report(stderr, complete(stdout, a, words))
	}
	args, err := arrange(a, args)
	if err == nil {
		err = a.RunContext(ctx, args)
	}
	return report(stderr, err)
}
