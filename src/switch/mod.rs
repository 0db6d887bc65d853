//! The one typed API: commands in, answers and events out.
