//! What an engine of the tests leaves to the one it stands before.

/// Writes methods of [`Engine`](bowline_engine::Engine), by the engine in this field.
macro_rules! delegate {
    ($field:ident: $($method:ident)*) => { $(delegate!(@$method $field);)* };
    (@append $field:ident) => {
        fn append(
            &self,
            batch: Vec<bowline_engine::Append>,
        ) -> bowline_engine::BoxFuture<
            '_,
            Vec<Result<bowline_engine::Appended, bowline_engine::AppendError>>,
        > {
            self.$field.append(batch)
        }
    };
    (@channel $field:ident) => {
        fn channel(
            &self,
            channel: &str,
        ) -> bowline_engine::BoxFuture<
            '_,
            Result<bowline_proto::recovery::ChannelState, bowline_engine::ReadError>,
        > {
            self.$field.channel(channel)
        }
    };
    (@read $field:ident) => {
        fn read(
            &self,
            channel: &str,
            after: u64,
            limit: bowline_engine::PageLimit,
        ) -> bowline_engine::BoxFuture<
            '_,
            Result<Option<bowline_engine::Page>, bowline_engine::ReadError>,
        > {
            self.$field.read(channel, after, limit)
        }
    };
    (@session $field:ident) => {
        fn session(
            &self,
            session: bowline_engine::SessionKey,
        ) -> bowline_engine::BoxFuture<'_, Result<Option<u64>, bowline_engine::ReadError>> {
            self.$field.session(session)
        }
    };
    (@end_session $field:ident) => {
        fn end_session(
            &self,
            session: bowline_engine::SessionKey,
        ) -> bowline_engine::BoxFuture<'_, Result<(), bowline_engine::AppendError>> {
            self.$field.end_session(session)
        }
    };
    (@listen $field:ident) => {
        fn listen(&self, listener: std::sync::Arc<dyn bowline_engine::Listener>) {
            self.$field.listen(listener);
        }
    };
    (@clock $field:ident) => {
        fn clock(&self) -> bowline_proto::recovery::EngineClock {
            self.$field.clock()
        }
    };
    (@stats $field:ident) => {
        fn stats(&self) -> bowline_engine::EngineStats {
            self.$field.stats()
        }
    };
    (@health $field:ident) => {
        fn health(&self) -> bowline_engine::EngineHealth {
            self.$field.health()
        }
    };
}

pub(crate) use delegate;
