package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/atolldb/atoll/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := app().RunContext(ctx, os.Args); err != nil {
		// One line, whatever the libraries below have to say.
		fmt.Fprintln(os.Stderr, "crdtd:", strings.Join(strings.Fields(err.Error()), " "))
		stop()
		os.Exit(exitCode(err))
	}
}

func run(c *cli.Context) error {
	config, err := configOf(c)
	if err == nil {
		err = required(config)
	}
	if err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return fmt.Errorf("%w: log level %q; it is debug, info, warn or error", server.ErrConfig, c.String("log-level"))
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	member, err := server.Start(c.Context, config, log)
	if errors.Is(err, context.Canceled) {
		return nil // told to stop before it had started
	}
	if err != nil {
		return err
	}
	a := member.Addresses()
	log.Info("serving", "member", member.Config().Name, "region", config.Region, "version", server.Version,
		"client", a.Client, "route", a.Cluster, "gateway", a.Gateway)
	<-c.Context.Done()
	log.Info("stopping")
	return member.Close()
}
