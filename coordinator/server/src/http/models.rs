//! `/v1/models`: the registry.

use axum::{Json, extract::State};
use phalanx_protocol::view::{AliasRequest, ModelView};

use super::{
    App, Refused,
    error::{Body, Path},
};

pub(super) async fn list(State(app): State<App>) -> Result<Json<Vec<ModelView>>, Refused> {
    Ok(Json(app.handle.read(|coordinator| coordinator.models()).await?))
}

pub(super) async fn show(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<Json<ModelView>, Refused> {
    view(&app, name).await.map(Json)
}

pub(super) async fn alias(
    State(app): State<App>,
    Path((name, alias)): Path<(String, String)>,
    Body(request): Body<AliasRequest>,
) -> Result<Json<ModelView>, Refused> {
    app.handle.set_alias(name.clone(), alias, request.version).await?;
    view(&app, name).await.map(Json)
}

async fn view(app: &App, name: String) -> Result<ModelView, Refused> {
    let wanted = name.clone();
    let model = app.handle.read(move |coordinator| coordinator.model(&wanted)).await?;
    model.ok_or_else(|| Refused::not_found("model", name))
}
