"""Every text of kfer's screens, Korean and English side by side, for Python and the script."""

TEXTS: dict[str, tuple[str, str]] = {
    "tagline": (
        "사진 속 표정을 읽고, 얼마나 믿을 수 있는지도 알려 드려요.",
        "Reads the expressions in a photo, and says how far to trust them.",
    ),
    "drop": ("사진을 여기에 놓거나 붙여 넣어 주세요", "Drop or paste a photo here"),
    "drop_hint": (
        "JPEG, PNG, WebP, HEIC · 30 MB까지 · 사진은 저장하지 않아요",
        "JPEG, PNG, WebP, HEIC · up to 30 MB · photos are not stored",
    ),
    "choose": ("사진 고르기", "Choose a photo"),
    "camera": ("웹캠", "Webcam"),
    "live": ("실시간", "Live"),
    "snap": ("찍기", "Take photo"),
    "stop": ("멈추기", "Stop"),
    "examples": ("예시 사진 (컴퓨터로 만든 얼굴)", "Example photos (rendered faces)"),
    "example": ("예시", "Example"),
    "busy": ("표정을 읽고 있어요…", "Reading the faces…"),
    "starting_camera": ("카메라를 켜고 있어요…", "Starting the camera…"),
    "readings": ("읽은 결과", "Readings"),
    "readings_empty": (
        "사진을 고르면 얼굴마다 표정과 확률이 여기에 나와요.",
        "Choose a photo: each face's expression and probabilities appear here.",
    ),
    "face": ("얼굴", "Face"),
    "whole_photo": ("사진 전체", "Whole photo"),
    "unsure": ("불확실", "not sure"),
    "no_face": (
        "얼굴을 찾지 못해 사진 전체를 하나의 얼굴로 읽었어요. 얼굴이 더 크고 밝게, 정면으로 보이는 "
        "사진을 써 보세요.",
        "No face was found, so the whole photo was read as one. Try a photo where the face is "
        "larger, brighter and turned to the camera.",
    ),
    "no_face_live": ("얼굴이 보이지 않아요.", "No face in sight."),
    "approximate": (
        "다른 분류로 바꿔 보여 드리는 어림값이에요.",
        "Shown in another set of labels than the model's own: an approximation.",
    ),
    "unreachable": ("이 모델이 답할 수 없는 감정", "Emotions this model cannot answer"),
    "trust": (
        "확률은 모델이 시험 사진에서 맞힌 비율에 맞춰 보정했어요. 하지만 사진 한 장의 표정으로 그 "
        "사람의 마음을 알 수는 없어요. 채용, 교육, 치안, 의료에는 쓰지 마세요.",
        "Probabilities are calibrated to how often the model was right on test pictures. Still, an "
        "expression on one photo does not tell what a person feels. Do not use this for hiring, "
        "schooling, policing or medicine.",
    ),
    "settings": ("설정", "Settings"),
    "model": ("모델", "Model"),
    "detector": ("얼굴 찾기", "Face detector"),
    "detector_mtcnn": ("MTCNN (정확함)", "MTCNN (accurate)"),
    "detector_haar": ("Haar (빠름, 정면만)", "Haar (quick, frontal only)"),
    "detector_none": ("안 함 (사진 전체)", "None (the whole photo)"),
    "taxonomy": ("감정 분류", "Labels"),
    "taxonomy_ferplus8": ("8가지 · 평가자 투표", "8 · as raters vote (FER+)"),
    "taxonomy_fer7": ("7가지 · FER2013", "7 · FER2013"),
    "taxonomy_korean5": ("한국형 5가지", "Korean 5"),
    "taxonomy_aihub7": ("한국형 7가지(AI Hub)", "Korean 7 (AI Hub)"),
    "taxonomy_openface6": ("6가지(공포 없음)", "6, without fear"),
    "taxonomy_approximate": ("어림", "approx."),
    "units_title": ("얼굴 움직임과 모델의 답", "Face movements and answers"),
    "units_scope": (
        "이 사진에서 잰 값이 아니에요. KFER는 사진에서 얼굴 움직임을 재지 않아요. {faces} "
        "{pictures}장에 모델이 한 답을 통틀어 회귀로 요약한 거예요. 회귀에 쓰지 않은 얼굴에서 이 "
        "요약은 얼굴의 {agreement}에서 모델과 같은 답을 해요. 늘 가장 흔한 답만 하면 "
        "{baseline}에서 같아요.",
        "Not measured in this photo: KFER measures no face movements in photos. This sums up, by "
        "regression, the model's answers to {pictures} {faces} whose movements are known. On faces "
        "left out of the regression, the summary answers as the model does in {agreement}; always "
        "giving the commonest answer would in {baseline}.",
    ),
    "units_rendered": ("움직임의 세기를 정해 컴퓨터로 만든 얼굴", "rendered faces"),
    "units_photographed": ("움직임의 세기를 잰 얼굴 사진", "photographed faces"),
    "units_answer": ("모델의 답", "The model's answer"),
    "units_count": (
        "모델은 그 가운데 {count}장에 이렇게 답했어요.",
        "The model gave this answer to {count} of them.",
    ),
    "units_few": (
        "모델이 그 가운데 {count}장에만 이렇게 답해서, 어떤 움직임과 관련 있는지 알 수 없어요.",
        "The model gave this answer to {count} of them only: too few to tell what goes with it.",
    ),
    "units_unit": ("얼굴 움직임 (FACS)", "Action unit (FACS)"),
    "units_coefficient": ("계수, 95 % 구간", "Coefficient, 95 % interval"),
    "units_for": ("강할수록 이 답이 더 나오는 움직임", "Speak for this answer"),
    "units_against": ("강할수록 이 답이 덜 나오는 움직임", "Speak against it"),
    "units_unclear": ("어느 쪽인지 확실하지 않은 움직임", "Not clear either way"),
    "units_how": (
        "계수는 움직임이 한 단계 강해질 때 이 답의 로짓이 모든 답의 평균에 견주어 얼마나 "
        "달라지는지예요. 가는 선은 95 % 구간이고, 그 안에 0이 있으면 어느 쪽인지 확실하지 않아요.",
        "A coefficient is what one step of a movement adds to this answer's logit, against the "
        "mean of all answers. The thin line is the 95 % interval; where it holds 0, it is not "
        "clear either way.",
    ),
    "table": ("표로 보기", "As a table"),
    "download": ("내려받기", "Download"),
    "download_photo": ("사진", "Photo"),
    "label": ("표정", "Expression"),
    "probability": ("확률", "Probability"),
    "place": ("위치 (x, y, 너비, 높이)", "Place (x, y, width, height)"),
    "last_seconds": ("첫 번째 얼굴의 지난 10초", "The first face's last ten seconds"),
    "photo_alt": ("올린 사진", "Your photo"),
    "error_size": (
        "파일이 30 MB보다 커요. 더 작은 사진을 골라 주세요.",
        "The file is larger than 30 MB. Choose a smaller photo.",
    ),
    "error_network": (
        "서버에 연결하지 못했어요. 잠시 뒤 다시 해 주세요.",
        "The server cannot be reached. Try again in a moment.",
    ),
    "error_camera": (
        "카메라를 쓸 수 없어요. 브라우저의 카메라 권한을 확인해 주세요.",
        "The camera cannot be used. Check the browser's camera permission.",
    ),
    "error_camera_https": (
        "웹캠은 https 주소나 localhost에서만 쓸 수 있어요. 사진을 올리거나 https로 열어 주세요.",
        "The webcam needs an https address or localhost. Upload a photo, or open the page over "
        "https.",
    ),
    "error_camera_none": (
        "카메라를 찾지 못했어요. 카메라를 연결하거나 사진을 올려 주세요.",
        "No camera was found. Connect one, or upload a photo.",
    ),
    "error_camera_taken": (
        "다른 프로그램이 카메라를 쓰고 있어요. 그 프로그램을 닫고 다시 해 주세요.",
        "Another program is using the camera. Close it and try again.",
    ),
    "model_notice": (
        "설정된 모델을 쓸 수 없어 기본 모델로 읽고 있어요.",
        "The configured model is not available; the bundled model is used instead.",
    ),
    "about_use_title": ("쓰임새와 한계", "Use and limits"),
    "about_use": (
        "KFER는 시연과 연구를 위한 도구예요. 인터넷 평가자들이 붙일 법한 표정 이름을 답할 뿐, "
        "그 사람이 무엇을 느끼는지는 몰라요. 채용, 교육, 치안, 의료처럼 사람을 두고 내리는 결정에 "
        "쓰면 안 되고, 유럽연합 인공지능법은 직장과 교육에서 감정을 추론하는 일을 금지해요.",
        "KFER is a demonstration and a research aid. It names an expression as raters on the "
        "internet would; it does not know what a person feels. It is not for hiring, schooling, "
        "policing, medicine or any decision about a person, and the European Union's AI Act "
        "forbids inferring emotions at work and in education.",
    ),
    "about_privacy_title": ("개인정보", "Privacy"),
    "about_privacy": (
        "사진과 웹캠 화면은 서버의 메모리에서만 읽고 저장하거나 기록하지 않아요. 이 페이지는 다른 "
        "서버에 아무것도 요청하지 않아요. API로 올린 파일은 읽는 즉시 지우고, 그 결과 그림은 5분 "
        "뒤에 지워요.",
        "Photos and webcam frames are read in the server's memory only; they are neither stored "
        "nor logged. This page asks nothing of any other server. Files sent through the API are "
        "deleted as they are read, and their pictures after five minutes.",
    ),
    "about_licence_title": ("라이선스", "Licences"),
    "about_licence": (
        "KFER의 코드는 MIT, 예시 얼굴은 컴퓨터로 만든 것으로 CC0예요. 모델의 자료와 조건은 아래 "
        "모델 카드에 있어요.",
        "KFER's code is MIT; the example faces are rendered and CC0. The model's data and terms "
        "stand in the model card below.",
    ),
    "about_version": ("버전", "Version"),
}

# The names of the Facial Action Coding System (Ekman, Friesen and Hager 2002).
ACTION_UNITS: dict[str, tuple[str, str]] = {
    "AU01": ("눈썹 안쪽 올림", "Inner brow raiser"),
    "AU02": ("눈썹 바깥쪽 올림", "Outer brow raiser"),
    "AU04": ("눈썹 내림", "Brow lowerer"),
    "AU05": ("윗눈꺼풀 올림", "Upper lid raiser"),
    "AU06": ("볼 올림", "Cheek raiser"),
    "AU07": ("눈꺼풀 조임", "Lid tightener"),
    "AU09": ("코 찡그림", "Nose wrinkler"),
    "AU10": ("윗입술 올림", "Upper lip raiser"),
    "AU11": ("팔자 주름 깊어짐", "Nasolabial deepener"),
    "AU12": ("입꼬리 당김", "Lip corner puller"),
    "AU13": ("입꼬리 위로 당김", "Sharp lip puller"),
    "AU14": ("보조개 만듦", "Dimpler"),
    "AU15": ("입꼬리 내림", "Lip corner depressor"),
    "AU16": ("아랫입술 내림", "Lower lip depressor"),
    "AU17": ("턱끝 올림", "Chin raiser"),
    "AU18": ("입술 오므림", "Lip pucker"),
    "AU20": ("입술 옆으로 당김", "Lip stretcher"),
    "AU22": ("입술 내밀어 벌림", "Lip funneler"),
    "AU23": ("입술 조임", "Lip tightener"),
    "AU24": ("입술 맞누름", "Lip pressor"),
    "AU25": ("입술 벌어짐", "Lips part"),
    "AU26": ("턱 벌어짐", "Jaw drop"),
    "AU27": ("입 크게 벌림", "Mouth stretch"),
    "AU28": ("입술 말아 넣음", "Lip suck"),
    "AU43": ("눈 감음", "Eyes closed"),
    "AU45": ("눈 깜박임", "Blink"),
    "AU46": ("한 눈 감음", "Wink"),
}
