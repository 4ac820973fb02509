package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/atolldb/atoll/client"
)

// inSession has do use a session that is kept in a file, which is made if it
// is not there, and replaced as a whole.
func inSession(path string, cl *client.Client, do func(*client.Client) error) error {
	was, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usagef("--session: %w", err)
	}
	session := cl.Session()
	if err == nil {
		token := make([]byte, base64.StdEncoding.DecodedLen(len(was)))
		n, err := base64.StdEncoding.Decode(token, bytes.TrimSpace(was))
		if err == nil {
			session, err = cl.Resume(token[:n])
		}
		if err != nil {
			return usagef("--session: %s is not of a session with this cluster: %w; remove the file to start anew", path, err)
		}
	}
	done := do(session)
	is := append(base64.StdEncoding.AppendEncode(nil, session.Token()), '\n')
	if bytes.Equal(is, was) {
		return done
	}
	if err := replaceFile(path, is); err != nil {
		return errors.Join(done, fmt.Errorf("--session: %w", err))
	}
	return done
}

// replaceFile writes a file that is either as before or complete.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
