//! Workers, sockets and ports: all system calls live here.
#![allow(unsafe_code)]
